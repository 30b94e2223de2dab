"""TorchScript to ONNX."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import onnx

from quickbeam._base import ModelError, UsageError, require
from quickbeam.bundle.model import parse_model

PURPOSE = "importing TorchScript"


def import_torchscript(
    path: Path, samples: dict[str, np.ndarray] | None, dims: dict[str, int]
) -> onnx.ModelProto:
    """Export a TorchScript file; its archive tells no shapes, so samples are needed."""
    torch = require("torch", extra="torch", purpose=PURPOSE)
    if dims:
        raise UsageError(
            "--dims is of no use for TorchScript, which declares no shapes: give --inputs sample.npz"
        )
    try:
        module = torch.jit.load(str(path), map_location="cpu").eval()
    except (RuntimeError, ValueError) as error:
        raise ModelError(
            f"{path} is no readable TorchScript file: {str(error).strip().splitlines()[0]}"
        ) from error
    names = [value.debugName() for value in module.forward.graph.inputs()][1:]
    if samples is None:
        raise UsageError(
            f"{path} is TorchScript, which declares no shapes: give --inputs sample.npz with one array per argument "
            f"({', '.join(names)})"
        )
    arrays = _order(samples, names, path)
    tensors = tuple(torch.from_numpy(np.ascontiguousarray(array)) for array in arrays)
    return export(torch, module, tensors, names, path)


def _order(samples: dict[str, np.ndarray], names: list[str], path: Path) -> list[np.ndarray]:
    """Put the samples in the order of the arguments: by name, or as they come where the count fits."""
    if set(samples) >= set(names):
        return [samples[name] for name in names]
    if len(samples) == len(names):
        return list(samples.values())
    raise UsageError(
        f"{path} takes the arguments {', '.join(names)}; the samples hold {', '.join(samples) or 'nothing'}"
    )


def export(
    torch: object, module: object, tensors: tuple[object, ...], names: list[str], path: Path
) -> onnx.ModelProto:
    """Export through torch's own exporter, the leading dimension free."""
    import warnings

    buffer = io.BytesIO()
    clean = [name.split(".", 1)[0] for name in names]
    with torch.no_grad():  # type: ignore[attr-defined] # torch is passed in untyped
        result = module(*tensors)  # type: ignore[operator]
    results = result if isinstance(result, (tuple, list)) else (result,)
    outputs = ["output"] if len(results) == 1 else [f"output_{i}" for i in range(len(results))]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(  # type: ignore[attr-defined]
                module,
                tensors,
                buffer,
                input_names=clean,
                output_names=outputs,
                dynamic_axes={name: {0: "N"} for name in (*clean, *outputs)},
                opset_version=17,
                dynamo=False,
            )
    except Exception as error:  # the exporter raises whatever its operators raise
        lines = [line for line in str(error).strip().splitlines() if line.strip()]
        raise ModelError(
            f"torch cannot export {path} to ONNX: {lines[0] if lines else type(error).__name__}"
        ) from error
    return parse_model(buffer.getvalue(), str(path))
