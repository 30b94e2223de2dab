"""hls4ml's own graph of a plan, and the check that hls4ml has kept every layer, type and number."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tamis._base import ModelError, require
from tamis.firmware.hls.layers import HlsLayer, HlsPlan
from tamis.fixedpoint import FixedFormat

HLS_PURPOSE = "exporting a bundle to hls4ml"
HLS_BACKEND = "Vitis"
DEFAULT_TYPE = "ap_fixed<2,1>"  # of what has no type of its own: far too small, so that the comparison of bits would show its use
DATA_NAMES = {"weight": "weight_data", "bias": "bias_data", "scale": "scale_data", "table": "table_data"}


def make_graph(plan: HlsPlan, folder: Path, name: str, part: str, clock_ns: float) -> Any:
    """Return hls4ml's graph of a plan, whose project will be in a folder."""
    require("hls4ml", extra="hls4ml", purpose=HLS_PURPOSE)
    with quiet():
        from hls4ml.backends.backend import get_backend
        from hls4ml.model import ModelGraph

        backend = get_backend(HLS_BACKEND)
        config: dict[str, Any] = backend.create_initial_config(
            part=part, clock_period=clock_ns, write_weights_txt=False
        )
        config |= {
            "OutputDir": str(folder),
            "ProjectName": name,
            "Backend": HLS_BACKEND,
            "HLSConfig": {
                # hls4ml infers nothing: every type is written out below
                "Model": {
                    "Precision": {"default": DEFAULT_TYPE},
                    "ReuseFactor": 1,
                    "Strategy": "Latency",
                    "BitExact": False,
                },
                "LayerName": {layer.name: {"Precision": _types(layer)} for layer in plan.layers},
            },
        }
        graph = ModelGraph.from_layer_list(
            config,
            [_layer(layer) for layer in plan.layers],
            [port.name for port in plan.inputs],
            [port.name for port in plan.outputs],
        )
    _check(plan, graph)
    return graph


@dataclass(frozen=True)
class TopFunction:
    """The top function: type, name and number of elements of each of its arguments."""

    name: str
    inputs: tuple[tuple[str, str, int], ...]
    outputs: tuple[tuple[str, str, int], ...]


def signature_of(graph: Any) -> TopFunction:
    """Return the top function of hls4ml's graph."""
    inputs, outputs = (
        tuple((one.type.name, one.name, int(one.size())) for one in variables)
        for variables in (graph.get_input_variables(), graph.get_output_variables())
    )
    return TopFunction(graph.config.get_project_name(), inputs, outputs)


def hls4ml_version() -> str:
    """Return the version of hls4ml."""
    return str(require("hls4ml", extra="hls4ml", purpose=HLS_PURPOSE).__version__)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep hls4ml's progress messages and warnings from the terminal."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def type_text(kind: FixedFormat) -> str:
    """Return a type as C++ has it."""
    name = "ap_fixed" if kind.signed else "ap_ufixed"
    modes = (
        ""
        if (kind.rounding, kind.overflow) == ("TRN", "WRAP")
        else f",AP_{kind.rounding},AP_{kind.overflow},0"
    )
    return f"{name}<{kind.width},{kind.integer}{modes}>"


def _types(layer: HlsLayer) -> dict[str, str]:
    return {name: type_text(kind) for name, kind in layer.types.items()}


def _layer(layer: HlsLayer) -> dict[str, Any]:
    """Return a layer as hls4ml's front ends describe it."""
    described = {"class_name": layer.kind, "name": layer.name, **layer.attributes}
    if layer.inputs:
        described["inputs"] = list(layer.inputs)
    return described | {
        DATA_NAMES[name]: array + 0.0 for name, array in layer.arrays.items()
    }  # no negative zeros


def _check(plan: HlsPlan, graph: Any) -> None:
    """Raise ModelError unless hls4ml has every layer with the types and the numbers of the plan."""
    for layer in plan.layers:
        node = graph.graph.get(layer.name)
        if node is None:
            if layer.kind in (
                "Reshape",
                "Transpose",
            ):  # hls4ml may move it into the weights; the comparison of bits decides
                continue
            raise ModelError(f"hls4ml removed the layer {layer.name}; please report this with the bundle")
        seen = {"result": node.get_output_variable().type.precision}
        seen |= {name: node.get_weights(name).type.precision for name in layer.arrays}
        if "accum" in layer.types:
            seen["accum"] = node.get_attr("accum_t").precision
        for name, kind in layer.types.items():
            found = seen[name]
            modes = found.rounding_mode.name, found.saturation_mode.name
            have = (bool(found.signed), found.width, found.integer, *modes)
            want = (kind.signed, kind.width, kind.integer, kind.rounding, kind.overflow)
            if have != want and not (layer.kind == "Reshape" and name == "result"):
                raise ModelError(
                    f"hls4ml made the type of {name} of the layer {layer.name} {found}, not {type_text(kind)}; "
                    "please report this with the bundle"
                )
        for name, array in layer.arrays.items():
            kept = np.asarray(node.get_weights(name).data, np.float64)
            if not np.array_equal(np.sort(kept.ravel()), np.sort(array.ravel())):
                raise ModelError(
                    f"hls4ml changed {name} of the layer {layer.name}; please report this with the bundle"
                )
            if not np.array_equal(layer.types[name](array), array):
                raise ModelError(
                    f"{layer.types[name]} does not hold {name} of the layer {layer.name}; please report this with the bundle"
                )
