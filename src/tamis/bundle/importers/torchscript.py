"""TorchScript to ONNX."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import onnx

from tamis._base import ModelError, UsageError, require
from tamis.bundle.model import parse_model

TORCHSCRIPT_PURPOSE = "importing TorchScript"
_UNKNOWN_OPERATOR = re.compile(r"Unknown builtin op: ([\w:.]+?)\.?\s")


def import_torchscript(
    path: Path, samples: dict[str, np.ndarray] | None, dims: dict[str, int]
) -> onnx.ModelProto:
    """Export a TorchScript file as ONNX; it declares no shapes, so samples are needed."""
    torch = require("torch", extra="torch", purpose=TORCHSCRIPT_PURPOSE)
    if dims:
        raise UsageError(
            "--dims does not apply to TorchScript, which declares no shapes: give --inputs sample.npz"
        )
    try:
        module = torch.jit.load(str(path), map_location="cpu").eval()
    except (RuntimeError, ValueError) as error:
        if operator := unknown_operator(error):
            raise ModelError(
                f"{path} uses the operator {operator}, which is not part of torch and has no form in ONNX; replace it in the model, "
                "or serve the file as it is, with `tamis serve --torch-library`"
            ) from error
        raise ModelError(
            f"{path} is not a readable TorchScript file: {str(error).strip().splitlines()[0]}"
        ) from error
    names = [value.debugName() for value in module.forward.graph.inputs()][1:]
    if samples is None:
        raise UsageError(
            f"{path} is TorchScript, which declares no shapes: give --inputs sample.npz with one array per argument "
            f"({', '.join(argument_names(names))})"
        )
    arrays = _order(samples, names, path)
    tensors = tuple(torch.from_numpy(np.ascontiguousarray(array)) for array in arrays)
    return export(torch, module, tensors, names, path)


def unknown_operator(error: BaseException) -> str:
    """Return the operator that torch did not know while it loaded a file, or an empty string for another error."""
    match = _UNKNOWN_OPERATOR.search(f"{error}\n")
    return match[1] if match else ""


def _order(samples: dict[str, np.ndarray], names: list[str], path: Path) -> list[np.ndarray]:
    """Return the samples in the order of the arguments: by name, or in their own order if the count fits."""
    for candidates in (names, argument_names(names)):
        if set(samples) >= set(candidates):
            return [samples[name] for name in candidates]
    names = argument_names(names)
    if len(samples) == len(names):
        return list(samples.values())
    raise UsageError(
        f"{path} takes the arguments {', '.join(names)}; the samples hold {', '.join(samples) or 'nothing'}"
    )


def argument_names(names: list[str]) -> list[str]:
    """Return argument names without the numbers that TorchScript appends, if they stay unique."""
    bare = [name.split(".", 1)[0] for name in names]
    return [b if bare.count(b) == 1 else n.replace(".", "_") for n, b in zip(names, bare, strict=True)]


def export(
    torch: object,
    module: object,
    tensors: tuple[object, ...],
    names: list[str],
    path: Path,
    free: dict[str, dict[int, str]] | None = None,
) -> onnx.ModelProto:
    """Export with torch's exporter; the leading dimension is free, and so are the others named in `free`."""
    import warnings

    buffer = io.BytesIO()
    clean = argument_names(names)
    try:
        with torch.no_grad():  # type: ignore[attr-defined] # torch is passed in untyped
            result = module(*tensors)  # type: ignore[operator]
    except Exception as error:  # a model may raise any error
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        reason = lines[-1][:300] if lines else type(error).__name__
        raise ModelError(
            f"{path} cannot be run on the samples: {reason}; check their shapes and types"
        ) from error
    results = result if isinstance(result, (tuple, list)) else (result,)
    if not all(isinstance(value, torch.Tensor) for value in results):  # type: ignore[attr-defined]
        raise ModelError(
            f"{path} returns a {type(result).__name__} that does not only hold tensors; return a tensor or a flat tuple of tensors"
        )
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
                dynamic_axes={name: {0: "N"} for name in (*clean, *outputs)} | (free or {}),
                opset_version=17,
                dynamo=False,
            )
    except Exception as error:  # operators may raise any error
        lines = [line for line in str(error).strip().splitlines() if line.strip()]
        raise ModelError(
            f"torch cannot export {path} to ONNX: {lines[0] if lines else type(error).__name__}"
        ) from error
    return parse_model(buffer.getvalue(), str(path))
