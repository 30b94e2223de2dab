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
    multipliers: int = Field(
        default=0, description="multipliers of two numbers that vary, which products share"
    )
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


class PlaceAndRoute(Document):
    """A design on an ECP5, in between two shift registers, whose cells are not counted."""

    tool: str
    device: str
    lut4: int = Field(description="LUTs with four inputs, those in carry chains included")
    flip_flops: int
    multipliers: int = Field(description="of 18 x 18 bits")
    block_memories: int = Field(description="of 16 kbit")
    max_mhz: float | None = Field(description="highest clock of the routed design; null if it was not routed")
    slowest: str = Field(default="", description="the layer in which the slowest path ends")
    problem: str = Field(default="", description="why it was not routed")


class BitAgreement(Document):
    """Vectors that a simulator computed, compared with the emulation bit by bit."""

    what: Literal["RTL", "netlist", "C simulation"]
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
    initiation_interval: int = Field(description="clock cycles from one event to the next")
    reuse: int = Field(
        default=1, description="the reuse factor asked for; the interval is smaller if no layer can use it"
    )
    multipliers: int = Field(default=0, description="multipliers of all layers")
    lut_estimate: float
    layers: tuple[HardwareLayer, ...]
    synthesis: Synthesis | None = None
    place: PlaceAndRoute | None = None
    agreement: tuple[BitAgreement, ...] = ()
    seed: int = 0

    @property
    def latency_ns(self) -> float:
        """The latency at the clock asked for."""
        return 1e3 * self.latency_cycles / self.clock_mhz

    @property
    def pace(self) -> str:
        """How often an event may enter, in words."""
        if self.initiation_interval == 1:
            return "an event may enter at every cycle"
        pace = f"an event may enter every {self.initiation_interval} cycles (reuse {self.reuse}"
        unused = self.initiation_interval < self.reuse
        return f"{pace}, of which no layer can use more)" if unused else f"{pace})"


class HlsProjectLayer(Document):
    """One layer of an hls4ml project."""

    name: str
    class_name: str = Field(description="of hls4ml")
    types: dict[str, str] = Field(
        description="fixed-point type of the result, the weights and the accumulator"
    )


class HlsRecord(Document):
    """A bundle as an hls4ml project."""

    kind: Literal["hls4ml"] = "hls4ml"
    bundle: str
    checksum: str = Field(description="SHA-256 of the bundle's model")
    created: str
    host: Host
    hls4ml: str = Field(description="version")
    backend: str
    part: str
    clock_mhz: float
    layers: tuple[HlsProjectLayer, ...]
    agreement: BitAgreement
    seed: int
