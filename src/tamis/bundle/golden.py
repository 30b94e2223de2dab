"""Golden inputs and outputs, which an engine has to reproduce before it may decide anything; stored as safetensors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from tamis._base import BundleError, InputMismatchError
from tamis.bundle.signature import BATCH, Signature, contiguous


@dataclass(frozen=True)
class Golden:
    """Inputs of the model, and the outputs of the reference engine in float64."""

    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]

    def to_bytes(self) -> bytes:
        """Serialise as safetensors."""
        tensors = {f"input.{k}": contiguous(v) for k, v in self.inputs.items()}
        tensors |= {f"output.{k}": contiguous(v) for k, v in self.outputs.items()}
        return save_tensors(tensors)

    @classmethod
    def parse(cls, data: bytes, signature: Signature, path: Path) -> Golden:
        """Parse safetensors and check them against the signature."""
        try:
            tensors = load_tensors(data)
        except (SafetensorError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise BundleError(f"{path} is not a safetensors file ({error}); pack the bundle again") from error
        golden = cls(
            {k.removeprefix("input."): v for k, v in tensors.items() if k.startswith("input.")},
            {k.removeprefix("output."): v for k, v in tensors.items() if k.startswith("output.")},
        )
        declared = {spec.name for spec in signature.outputs}
        if set(golden.outputs) != declared:
            raise BundleError(
                f"{path} holds golden outputs {sorted(golden.outputs)}, the manifest declares {sorted(declared)}"
            )
        try:
            sizes = signature.sizes(golden.inputs)
        except InputMismatchError as error:
            raise BundleError(f"{path} does not fit the manifest: {error}; pack the bundle again") from error
        if sizes.get(BATCH) == 0:
            raise BundleError(
                f"{path} holds no golden events, so nothing can be verified; pack the bundle again"
            )
        for spec in signature.outputs:
            value = golden.outputs[spec.name]
            fits_batch = BATCH not in sizes or value.shape[:1] == (sizes[BATCH],)
            if value.ndim != len(spec.shape) or not fits_batch or not value.size:
                raise BundleError(
                    f"{path}: the golden output {spec.name!r} has the shape {value.shape}, the manifest declares {spec}; "
                    "pack the bundle again"
                )
        return golden

    def first_row(self) -> Golden:
        """Return only the first event."""
        return Golden({k: v[:1] for k, v in self.inputs.items()}, {k: v[:1] for k, v in self.outputs.items()})
