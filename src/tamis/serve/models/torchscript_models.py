"""TorchScript models of a Triton repository; inputs and outputs by their place in the name, as Triton has it, or by name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tamis._base import ModelError, VerificationError, did_you_mean, require
from tamis.engines.engine import model_error
from tamis.serve.models.model import Model, Run, Spec
from tamis.serve.models.triton_config import ResolvedConfig, reshaped
from tamis.serve.models.warmup import make_ready
from tamis.serve.protocol.tensors import dtype_of

_PLACE = re.compile(r".*__(\d{1,3})")
_ERRORS = (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError, NotImplementedError)


def open_torchscript(configured: ResolvedConfig, version: str, path: Path) -> Model:
    """Open one version: its instances are warm. There is no reference to hold it against."""
    torch = require("torch", extra="torch", purpose=f"serving {path.name}")
    for spec in (*configured.inputs, *configured.outputs):
        if spec.datatype in ("BYTES", "UINT16", "UINT32", "UINT64", "BF16"):
            raise ModelError(
                f"{configured.place}: {spec.name!r} is {spec.datatype}, which TorchScript models are not served with"
            )
        if spec.optional:
            raise ModelError(
                f"{configured.place}: input {spec.name!r} is optional; TorchScript models take every input"
            )
    torch.set_num_threads(configured.threads)  # one number for the whole process: the last model's holds
    try:
        with path.open("rb") as file:
            module = torch.jit.load(file, map_location="cpu").eval()
    except (*_ERRORS, OSError) as error:
        raise model_error("torch", error) from error
    arguments = [argument.name for argument in module.forward.schema.arguments[1:]]
    order = input_places([spec.name for spec in configured.inputs], arguments, configured.place)
    run = _runner(configured, torch, module, order)
    return make_ready(
        configured, version, [run] * configured.instances, lambda _: "no: TorchScript has no reference"
    )


def input_places(names: Sequence[str], arguments: Sequence[str], place: str) -> list[int]:
    """Return, for every argument, which input it is: by argument names, by `NAME__0`, or in their order."""
    if set(names) <= set(arguments):
        return _in_order([arguments.index(name) for name in names], names, place)
    found = [_PLACE.fullmatch(name) for name in names]
    if all(found):
        return _in_order([int(match[1]) for match in found if match], names, place)
    if any(found) or any(name in arguments for name in names):
        wrong = next(name for name in names if not _PLACE.fullmatch(name) and name not in arguments)
        hint = did_you_mean(wrong, arguments)
        raise ModelError(
            f"{place}: forward takes no {wrong!r}; name inputs by its arguments, or INPUT__0, INPUT__1 ... ({hint})"
        )
    return list(range(len(names)))


def _in_order(places: list[int], names: Sequence[str], place: str) -> list[int]:
    if sorted(places) != list(range(len(names))):
        raise ModelError(
            f"{place}: the inputs {', '.join(names)} are not numbered 0 to {len(names) - 1}, or not the first arguments"
        )
    return [places.index(index) for index in range(len(names))]


def _runner(configured: ResolvedConfig, torch: Any, module: Any, order: list[int]) -> Run:
    specs, outputs, has_rows = configured.inputs, configured.outputs, bool(configured.max_batch)
    reshapes = configured.reshapes

    def run(arrays: list[Any]) -> Sequence[np.ndarray]:
        tensors = []
        for index in order:
            array, reshape = arrays[index], reshapes.get(specs[index].name)
            if reshape is not None:
                array = reshaped(array, reshape.outer, reshape.inner, has_rows)
            # What came over the wire cannot be written to, and torch takes nothing that cannot.
            tensors.append(torch.from_numpy(array if array.flags.writeable else array.copy()))
        try:
            with torch.no_grad():
                found = module(*tensors)
            return [
                _array(configured, spec, tensor)
                for spec, tensor in zip(outputs, chosen(found, outputs), strict=True)
            ]
        except _ERRORS as error:
            raise model_error("torch", error) from error

    return run


def chosen(found: Any, outputs: Sequence[Spec]) -> list[Any]:
    """Return the configured outputs of what forward gave: a tensor, several, or several by name."""
    names = [spec.name for spec in outputs]
    if isinstance(found, Mapping):
        if missing := next((name for name in names if name not in found), None):
            raise VerificationError(
                f"forward gives no {missing!r}; {did_you_mean(missing, [str(key) for key in found])}"
            )
        return [found[name] for name in names]
    several = list(found) if isinstance(found, tuple | list) else [found]
    matches = [_PLACE.fullmatch(name) for name in names]
    places = [int(match[1]) for match in matches if match] if all(matches) else list(range(len(names)))
    if max(places) >= len(several):
        raise VerificationError(
            f"forward gives {len(several)} outputs; the configuration names {', '.join(names)}"
        )
    return [several[place] for place in places]


def _array(configured: ResolvedConfig, spec: Spec, tensor: Any) -> np.ndarray:
    found: np.ndarray = tensor.detach().numpy()
    if found.dtype != dtype_of(spec.datatype):
        raise VerificationError(
            f"the output {spec.name!r} is {found.dtype}; the configuration says {spec.datatype}"
        )
    reshape = configured.reshapes.get(spec.name)
    return (
        found
        if reshape is None
        else reshaped(found, reshape.inner, reshape.outer, bool(configured.max_batch))
    )
