"""A program as Verilog: one module per layer, one per pipeline stage of a layer, and a top module with fixed latency."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from tamis._base import ModelError
from tamis.firmware.keywords import HARDWARE_KEYWORDS
from tamis.firmware.lower import Logic, joined, lower
from tamis.firmware.luts import LutCount, count_luts
from tamis.fixedpoint import FixedGrid, FixedProgram, live_elements

# One unit of alkaid's delays, one adder with its routing, takes about a nanosecond on an UltraScale+ of speed grade 2: its authors
# use 5 units at 200 MHz. Only place and route on the part can confirm a clock.
NS_PER_UNIT = 1.0
ADDER = "shift_adder.v"
TABLE_MODULE = re.compile(r"\btable_[0-9a-f_]{36}\b")
LINT = re.compile(
    r"[ \t]*(//\s*verilator lint.*\n?|/\*\s*verilator lint[^*]*\*/)"
)  # not known to every version


@dataclass(frozen=True)
class Design:
    """Sources of a design by file name, its ports, its latency in cycles, and how often an event may enter."""

    name: str
    sources: dict[str, str]
    inputs: FixedGrid
    outputs: FixedGrid
    latency: int
    layers: tuple[LayerFacts, ...]
    clock_mhz: float
    interval: int = (
        1  # cycles from one event to the next; the top has the port `in_ready` if it is more than one
    )


@dataclass(frozen=True)
class Instance:
    """A layer's module, and which elements of its input its logic uses."""

    module: str
    logic: Logic
    used: np.ndarray


@dataclass(frozen=True)
class LayerFacts:
    """What a layer costs."""

    name: str
    stages: int
    luts: LutCount
    register_bits: int
    reads: str  # number of elements by format
    writes: str
    multipliers: int = 0  # of two numbers that vary, which layers share

    @property
    def lut_estimate(self) -> float:
        """The estimate of its LUTs."""
        return self.luts.lut


@dataclass(frozen=True)
class LayerEstimate:
    """The estimated LUTs of a layer, and its cycles."""

    lut: float
    cycles: int


def make_design(program: FixedProgram, name: str, clock_mhz: float) -> Design:
    """Return the Verilog of a program; layers are pipelined so that no stage is slower than the clock by the estimate."""
    top = verilog_name(name)
    logics = lower(program)
    sources: dict[str, str] = {}
    facts, taken = [], {top}
    instances = []
    for logic in logics:
        layer = new_name(logic.layer.name, taken)
        fsm = pipelined(logic, clock_mhz)
        sources |= layer_modules(logic, fsm, layer)
        stages = len(fsm.logic)
        registers = sum(signal.width for signal in fsm.signals.values() if signal.reg)
        facts.append(
            LayerFacts(
                layer,
                stages,
                count_luts(list(fsm.logic.values())),
                registers,
                described(logic.reads),
                described(logic.writes),
            )
        )
        instances.append(Instance(layer, logic, read_elements(fsm.inp_signals, logic)))
    inputs = joined([FixedGrid(one.low, one.high, one.fraction) for one in program.inputs])
    live = np.concatenate([mask.ravel() for mask in live_elements(program)[: len(program.inputs)]])
    latency = sum(layer.stages for layer in facts)
    sources[f"{top}.v"] = _top(top, instances, inputs, live, latency)
    return Design(top, complete(sources), inputs, logics[-1].writes, latency, tuple(facts), clock_mhz)


def layer_modules(logic: Logic, fsm: Any, module: str) -> dict[str, str]:
    """Return the Verilog of a layer's pipeline by file name: a module of a given name and one for each stage."""
    from alkaid.codegen.rtl.verilog.fsm import fsm_logic_gen

    sources = {}
    written = fsm_logic_gen(fsm, module, print_latency=False, timescale="")
    tables = list(
        dict.fromkeys(TABLE_MODULE.findall("\n".join(written.values())))
    )  # of alkaid, by what is in them
    for part, code in written.items():
        file = re.sub(r"^logic(\d+)$", rf"{module}_stage\1", part)
        text = re.sub(r"\blogic(\d+)\b", rf"{module}_stage\1", code).strip()
        text = TABLE_MODULE.sub(lambda found: f"{module}_table{tables.index(found.group())}", text)
        sources[f"{file}.v"] = f"{_heading(logic, file, module)}\n{text}\n"
    return sources


def complete(sources: dict[str, str]) -> dict[str, str]:
    """Return sources with the modules that they instantiate and without hints to linters."""
    sources = sources | {path.name: path.read_text() for path in _cells()} | {ADDER: _adder()}
    return {file: LINT.sub("", text) for file, text in sources.items()}


def new_name(layer: str, taken: set[str]) -> str:
    """Return a name for the module of a layer, and note that it is taken."""
    name = verilog_name(layer)
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def pipelined(logic: Logic, clock_mhz: float) -> Any:
    """Return the logic of a layer cut into stages, none slower than the clock by the estimate."""
    from alkaid.trace.passes import add_surrogate, dead_code_elimin
    from alkaid.trace.pipeline import to_pipeline

    comb = add_surrogate(dead_code_elimin(logic.comb), _skip_op8_cost=True)
    cutoff = 1e3 / clock_mhz / NS_PER_UNIT
    return to_pipeline(comb, latency_cutoff=cutoff, reg_inp=False, reg_out=True, verbose=False)


def estimate_layers(program: FixedProgram, clock_mhz: float) -> dict[str, LayerEstimate]:
    """Return what the logic of every layer costs."""
    found: dict[str, LayerEstimate] = {}
    for logic in lower(program):
        stages = list(pipelined(logic, clock_mhz).logic.values())
        before = found.get(logic.layer.name, LayerEstimate(0.0, 0))
        found[logic.layer.name] = LayerEstimate(
            before.lut + count_luts(stages).lut, before.cycles + len(stages)
        )
    return found


def verilog_name(text: str) -> str:
    """Return a name that Verilog allows."""
    name = re.sub(r"\W+", "_", text).strip("_").lower() or "model"
    return f"m_{name}" if name[0].isdigit() or name in HARDWARE_KEYWORDS else name


def _cells() -> list[Path]:
    """Return alkaid's own modules, which its code instantiates: adders, multiplexers, negation."""
    import alkaid.codegen.rtl as rtl

    return sorted((Path(rtl.__file__).parent / "verilog" / "source").glob("*.v"))


def _adder() -> str:
    """Return our own adder: yosys makes two carry chains of alkaid's where it subtracts a number with lower bits."""
    return resources.files("tamis.firmware").joinpath(ADDER).read_text()


def _heading(logic: Logic, file: str, layer: str) -> str:
    lines = [f"// {file}: a pipeline stage of {layer}" if file != layer else f"// layer {logic.layer.name}"]
    if file == layer:
        lines += [f"// in:  {described(logic.reads)}", f"// out: {described(logic.writes)}"]
    return "\n".join(lines)


def described(grid: FixedGrid) -> str:
    """Return the number of elements of a port by format: `16 x fixed<8,4>`."""
    formats: dict[str, int] = {}
    for width, fraction, signed in zip(grid.widths, grid.fractions, grid.signed, strict=True):
        name = f"{'' if signed else 'u'}fixed<{width},{width - fraction}>" if width else "constant 0"
        formats[name] = formats.get(name, 0) + 1
    return ", ".join(f"{count} x {name}" for name, count in formats.items())


def read_elements(signals: list[Any], logic: Logic) -> np.ndarray:
    """Return which elements alkaid's logic reads; it leaves out those that no result depends on."""
    widths = [sum(precision) for signal in signals for precision in signal.precisions]
    used = np.array(widths) > 0
    if (np.array(widths)[used] != logic.reads.widths[used]).any():
        raise ModelError(f"the layer {logic.layer.name} narrows its inputs, which the layer before does not")
    return used


def _slices(bus: str, widths: np.ndarray, chosen: np.ndarray) -> str:
    """Return the bits of the chosen elements of a bus, joined: neighbours as one slice."""
    ends = np.cumsum(widths)
    parts: list[list[int]] = []
    for begin, end, wanted in zip(ends - widths, ends, chosen & (widths > 0), strict=True):
        if wanted and parts and parts[-1][1] == begin:
            parts[-1][1] = int(end)
        elif wanted:
            parts.append([int(begin), int(end)])
    texts = [f"{bus}[{end - 1}:{begin}]" for begin, end in reversed(parts)]
    return texts[0] if len(texts) == 1 else f"{{{', '.join(texts)}}}"


def _top(name: str, instances: list[Instance], inputs: FixedGrid, live: np.ndarray, latency: int) -> str:
    widths = [int(instance.logic.writes.widths.sum()) for instance in instances]
    if min(widths) == 0 or not all(instance.used.any() for instance in instances):
        raise ModelError(f"a layer of {name} computes only constants: it cannot be made into hardware")
    wires, body = [], []
    source, available, chosen = "inputs", inputs.widths, live.copy()
    for index, instance in enumerate(instances):
        target = "outputs" if index == len(instances) - 1 else f"{instance.module}_out"
        if target != "outputs":
            wires.append(f"    wire [{widths[index] - 1}:0] {target};")
        chosen[chosen] = instance.used
        read = _slices(source, available, chosen)
        body.append(
            f"    {instance.module} {instance.module}_layer (.clk(clk), .model_inp({read}), .model_out({target}));"
        )
        source, available = target, instance.logic.writes.widths
        chosen = np.ones(len(available), bool)
    valid = f"{{valid[{latency - 2}:0], in_valid}}" if latency > 1 else "in_valid"
    return f"""// {name}: results leave {latency} clock cycles after their event entered, and an event may enter at every cycle.
// in:  {described(inputs)}
// out: {described(instances[-1].logic.writes)}
// Elements follow each other from bit 0 on, each as wide as its format.
module {name} (
    input wire clk,
    input wire in_valid,
    input wire [{int(inputs.widths.sum()) - 1}:0] inputs,
    output wire out_valid,
    output wire [{widths[-1] - 1}:0] outputs
);
{chr(10).join(wires)}
    reg [{latency - 1}:0] valid = 0;
    assign out_valid = valid[{latency - 1}];
    always @(posedge clk) valid <= {valid};

{chr(10).join(body)}
endmodule
"""
