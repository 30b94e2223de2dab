"""Opens TorchScript models of a Triton repository; tensors are matched by name, or by the index in `NAME__INDEX`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tamis._base import ModelError, VerificationError, did_you_mean, require
from tamis.bundle.importers.torchscript import unknown_operator
from tamis.engines.engine import model_error
from tamis.serve.models.model import Model, OpeningSettings, Run, Spec
from tamis.serve.models.triton_config import ResolvedConfig, reshaped
from tamis.serve.models.warmup import make_ready
from tamis.serve.protocol.tensors import dtype_of

_INDEXED_NAME = re.compile(r".*__(\d{1,3})")
_TORCHSCRIPT_ERRORS = (
    RuntimeError,
    ValueError,
    TypeError,
    IndexError,
    KeyError,
    AttributeError,
    NotImplementedError,
)


def open_torchscript(
    configured: ResolvedConfig, version: str, path: Path, settings: OpeningSettings
) -> Model:
    """Open one version, with warm instances. There is no reference to verify it against."""
    torch = require("torch", extra="torch", purpose=f"serving {path.name}")
    for spec in (*configured.inputs, *configured.outputs):
        if spec.datatype in ("BYTES", "UINT16", "UINT32", "UINT64", "BF16"):
            raise ModelError(
                f"{configured.location}: {spec.name!r} is {spec.datatype}, which TorchScript models cannot have here"
            )
        if spec.optional:
            raise ModelError(
                f"{configured.location}: input {spec.name!r} is optional; TorchScript models need every input"
            )
    for library in settings.torch_libraries:
        try:
            torch.ops.load_library(str(library.resolve()))
        except (OSError, RuntimeError) as error:
            raise ModelError(
                f"--torch-library {library} cannot be loaded into torch {torch.__version__}: {error}; build it for this version"
            ) from error
    torch.set_num_threads(configured.threads)  # for the whole process: the last model decides
    try:
        with path.open("rb") as file:
            module = torch.jit.load(file, map_location="cpu").eval()
    except (*_TORCHSCRIPT_ERRORS, OSError) as error:
        if operator := unknown_operator(error):
            raise ModelError(
                f"{path} uses the operator {operator}, which is not part of torch: pass the shared library that defines it with "
                "--torch-library"
            ) from error
        raise model_error("torch", error) from error
    arguments = [argument.name for argument in module.forward.schema.arguments[1:]]
    order = input_order([spec.name for spec in configured.inputs], arguments, configured.location)
    run = _runner(configured, torch, module, order)
    return make_ready(
        configured,
        version,
        [run] * configured.instances,
        {"engine": f"torch {torch.__version__}"},
        lambda _: "no: TorchScript has no reference",
    )


def input_order(names: Sequence[str], arguments: Sequence[str], location: str) -> list[int]:
    """Return the index of the input for each argument: by argument names, by `NAME__0`, or in order."""
    if set(names) <= set(arguments):
        return _in_order([arguments.index(name) for name in names], names, location)
    matches = [_INDEXED_NAME.fullmatch(name) for name in names]
    if all(matches):
        return _in_order([int(match[1]) for match in matches if match], names, location)
    if any(matches) or any(name in arguments for name in names):
        unknown = next(name for name in names if not _INDEXED_NAME.fullmatch(name) and name not in arguments)
        hint = did_you_mean(unknown, arguments)
        raise ModelError(
            f"{location}: forward has no argument {unknown!r}; name the inputs as its arguments, or INPUT__0, INPUT__1 ... ({hint})"
        )
    return list(range(len(names)))


def _in_order(indices: list[int], names: Sequence[str], location: str) -> list[int]:
    if sorted(indices) != list(range(len(names))):
        raise ModelError(
            f"{location}: the inputs {', '.join(names)} must be numbered 0 to {len(names) - 1}, or be the first arguments of forward"
        )
    return [indices.index(index) for index in range(len(names))]


def _runner(configured: ResolvedConfig, torch: Any, module: Any, order: list[int]) -> Run:
    specs, outputs, has_rows = configured.inputs, configured.outputs, bool(configured.max_batch)
    reshapes = configured.reshapes

    def run(arrays: list[Any]) -> Sequence[np.ndarray]:
        tensors = []
        for index in order:
            array, reshape = arrays[index], reshapes.get(specs[index].name)
            if reshape is not None:
                array = reshaped(array, reshape.outer, reshape.inner, has_rows)
            # Arrays from a request are read-only, which torch does not accept.
            tensors.append(torch.from_numpy(array if array.flags.writeable else array.copy()))
        try:
            with torch.no_grad():
                result = module(*tensors)
            return [
                _array(configured, spec, tensor)
                for spec, tensor in zip(outputs, configured_outputs(result, outputs), strict=True)
            ]
        except _TORCHSCRIPT_ERRORS as error:
            raise model_error("torch", error) from error

    return run


def configured_outputs(result: Any, outputs: Sequence[Spec]) -> list[Any]:
    """Return the configured outputs from the result of forward: a tensor, a sequence or a mapping of tensors."""
    names = [spec.name for spec in outputs]
    if isinstance(result, Mapping):
        if missing := next((name for name in names if name not in result), None):
            raise VerificationError(
                f"forward returns no {missing!r}; {did_you_mean(missing, [str(key) for key in result])}"
            )
        return [result[name] for name in names]
    tensors = list(result) if isinstance(result, tuple | list) else [result]
    matches = [_INDEXED_NAME.fullmatch(name) for name in names]
    indices = [int(match[1]) for match in matches if match] if all(matches) else list(range(len(names)))
    if max(indices) >= len(tensors):
        raise VerificationError(
            f"forward returns {len(tensors)} outputs; the configuration names {', '.join(names)}"
        )
    return [tensors[index] for index in indices]


def _array(configured: ResolvedConfig, spec: Spec, tensor: Any) -> np.ndarray:
    array: np.ndarray = tensor.detach().numpy()
    if array.dtype != dtype_of(spec.datatype):
        raise VerificationError(
            f"the output {spec.name!r} is {array.dtype}; it is configured as {spec.datatype}"
        )
    reshape = configured.reshapes.get(spec.name)
    if reshape is None:
        return array
    return reshaped(array, reshape.inner, reshape.outer, bool(configured.max_batch))
