"""A program as hardware: one module per layer, one per pipeline stage of a layer, and a top module with fixed latency."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tamis.firmware.chain import LayerLogic, chained, described, read_elements
from tamis.firmware.language import Language
from tamis.firmware.lower import Logic, joined, lower
from tamis.firmware.luts import LutCount, count_luts
from tamis.firmware.names import hardware_name, new_name
from tamis.firmware.verilog import VERILOG
from tamis.fixedpoint import FixedGrid, FixedProgram, live_elements

# One unit of alkaid's delays, one adder with its routing, takes about a nanosecond on an UltraScale+ of speed grade 2: its authors
# use 5 units at 200 MHz. Only place and route on the part can confirm a clock.
NS_PER_UNIT = 1.0


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
    language: str = VERILOG.name


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


def make_design(program: FixedProgram, name: str, clock_mhz: float, language: Language = VERILOG) -> Design:
    """Return the hardware of a program; layers are pipelined so that no stage is slower than the clock by the estimate."""
    top = hardware_name(name)
    sources: dict[str, str] = {}
    facts, taken = [], {top}
    layers = []
    for logic in lower(program):
        layer = new_name(logic.layer.name, taken)
        fsm = pipelined(logic, clock_mhz)
        sources |= language.layer_sources(logic, fsm, layer)
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
        layers.append(LayerLogic(layer, logic, read_elements(fsm.inp_signals, logic)))
    inputs = joined([FixedGrid(one.low, one.high, one.fraction) for one in program.inputs])
    live = np.concatenate([mask.ravel() for mask in live_elements(program)[: len(program.inputs)]])
    chain = chained(top, layers, inputs, live, sum(layer.stages for layer in facts))
    sources[f"{top}{language.suffix}"] = language.top_source(chain)
    return Design(
        top,
        language.complete(sources),
        inputs,
        chain.outputs,
        chain.latency,
        tuple(facts),
        clock_mhz,
        language=language.name,
    )


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
