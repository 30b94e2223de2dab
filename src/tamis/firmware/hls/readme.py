"""The README of an hls4ml project."""

from __future__ import annotations

from tamis._base import quantity
from tamis.firmware.hls.graph import HlsSignature, type_text
from tamis.firmware.hls.layers import HlsPlan
from tamis.fixedpoint import QuantisedGraph
from tamis.records import HlsRecord

UNKNOWN_BEFORE_SYNTHESIS = """Not shown here, since only the vendor's tools know it: latency, initiation interval, resources and power. `tamis firmware`
counts cycles and cells of its own Verilog with open tools."""


def readme_text(record: HlsRecord, plan: HlsPlan, signature: HlsSignature, graph: QuantisedGraph) -> str:
    """Return the text in Markdown."""
    name = signature.name
    one = record.agreement
    written = (
        f"Written by hls4ml {record.hls4ml}, backend {record.backend}, for {record.part} at {quantity(record.clock_mhz * 1e6, 'Hz')}. "
        "Every layer has explicit types; none is inferred."
    )
    vendor = (
        "- `vitis-run --mode hls --tcl build_prj.tcl` synthesises with Vitis HLS (before 2024: `vitis_hls -f build_prj.tcl`); "
        "`build_opt.tcl` chooses the steps. Its own C simulation reads the golden events of `tb_data/`."
    )
    verified = (
        f"Verified: the {one.what} gives every bit of the bundle's emulation, on {one.golden_events} golden events and "
        f"{one.random_vectors} random vectors over the whole range of the inputs ({one.simulator})."
    )
    lines = [
        f"# {record.bundle} as an hls4ml project",
        "",
        written,
        "",
        "- `make` compiles the C simulation and compares the golden events with the bundle, bit by bit (`apt-get install make g++`).",
        vendor,
        f"- `firmware/{name}.cpp` is the top function, `hls4ml_config.yml` the configuration, `record.json` the record of the comparison.",
        "",
        verified,
        "",
        "| port | type | elements | of the bundle |",
        "|---|---|---|---|",
    ]
    sides = [(port, "in", one) for port, one in zip(plan.inputs, signature.inputs, strict=True)]
    sides += [(port, "out", one) for port, one in zip(plan.outputs, signature.outputs, strict=True)]
    program = graph.program
    for port, side, (_, c_name, size) in sides:
        if side == "in":
            tensor = port.tensor or port.name
        else:
            tensor = program.output_tensors[program.outputs.index(port.value)]
        lines.append(
            f"| {side} `{c_name}` | {type_text(port.kind)} | {size} | `{tensor}`, shape {list(port.shape)} |"
        )
    before = "rounds and limits its inputs" if graph.before is not None else "passes its inputs on"
    after = (
        "computes " + ", ".join(dict.fromkeys(node.op_type for node in graph.after.graph.node))
        if graph.after is not None
        else "has nothing to add"
    )
    lines += [
        "",
        f"Elements are in the order of the bundle's axes, channels first. The host {before} and {after} afterwards, as in `model.onnx`.",
        "",
        "| layer | kind | types |",
        "|---|---|---|",
    ]
    for layer in record.layers:
        types = ", ".join(f"{key} {kind}" for key, kind in layer.types.items())
        lines.append(f"| {layer.name} | {layer.class_name} | {types} |")
    return "\n".join([*lines, "", UNKNOWN_BEFORE_SYNTHESIS, ""])
