"""The record of a bundle's firmware: latency, resources, and the proof that the bits agree."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tamis._base import Document, Host


class HardwareLayer(Document):
    """One layer of the hardware."""

    name: str
    cycles: int = Field(description="clock cycles from its inputs to its outputs")
    lut_estimate: float = Field(description="LUTs by an estimate from its logic")
    register_bits: int
    inputs: str = Field(description="number of elements by format")
    outputs: str


class Synthesis(Document):
    """Cells of the part after synthesis, without place and route."""

    tool: str
    family: str
    lut: int
    flip_flops: int
    carry: int
    dsp: int
    block_memories: int
    shift_registers: int


class BitAgreement(Document):
    """Vectors that a simulator computed, compared with the emulation bit by bit."""

    what: Literal["RTL", "netlist"]
    simulator: str
    golden_events: int
    random_vectors: int = Field(description="uniform over every input's range, with its corners")
    differing: int


class FirmwareRecord(Document):
    """A bundle as hardware."""

    kind: Literal["firmware"] = "firmware"
    bundle: str
    checksum: str = Field(description="SHA-256 of the bundle's model")
    created: str
    host: Host
    language: str
    clock_mhz: float
    latency_cycles: int
    initiation_interval: int
    lut_estimate: float
    layers: tuple[HardwareLayer, ...]
    synthesis: Synthesis | None = None
    agreement: tuple[BitAgreement, ...] = ()
    seed: int = 0

    @property
    def latency_ns(self) -> float:
        """The latency at the clock asked for."""
        return 1e3 * self.latency_cycles / self.clock_mhz
