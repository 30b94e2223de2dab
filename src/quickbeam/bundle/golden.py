"""Golden inputs and outputs: what an engine has to reproduce before it may decide anything. Kept as safetensors."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from quickbeam._base import BundleError
from quickbeam.bundle.signature import Signature


@dataclass(frozen=True)
class Golden:
    """Inputs as the model takes them, and what the reference engine made of them in float64."""

    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]

    def to_bytes(self) -> bytes:
        """Serialise as safetensors."""
        tensors = {f"input.{k}": np.ascontiguousarray(v) for k, v in self.inputs.items()}
        tensors |= {f"output.{k}": np.ascontiguousarray(v) for k, v in self.outputs.items()}
        return save_tensors(tensors)

    @classmethod
    def read(cls, path: Path, signature: Signature) -> Golden:
        """Read and check against the signature."""
        try:
            tensors = load_tensors(path.read_bytes())
        except (SafetensorError, ValueError, OSError, KeyError) as error:
            raise BundleError(f"{path} is no safetensors file ({error}); pack the bundle again") from error
        golden = cls(
            {k.removeprefix("input."): v for k, v in tensors.items() if k.startswith("input.")},
            {k.removeprefix("output."): v for k, v in tensors.items() if k.startswith("output.")},
        )
        wanted = {spec.name for spec in signature.outputs}
        if set(golden.outputs) != wanted:
            raise BundleError(
                f"{path} holds golden outputs {sorted(golden.outputs)}, the manifest declares {sorted(wanted)}"
            )
        signature.sizes(golden.inputs)
        return golden

    def first_row(self) -> Golden:
        """Return the first event alone."""
        return Golden({k: v[:1] for k, v in self.inputs.items()}, {k: v[:1] for k, v in self.outputs.items()})
