"""Limits on hardware, such as `latency<100ns,lut<20000`, checked by estimate before synthesis and by count after it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tamis._base import ModelError, UsageError, did_you_mean
from tamis.records import FirmwareRecord

LATENCY_UNITS = {"ns": 1.0, "us": 1e3, "µs": 1e3}
QUANTITIES = ("latency", "lut", "ff", "dsp", "bram")
BUDGET_EXAMPLE = "latency<100ns,lut<20000"


@dataclass(frozen=True)
class Budget:
    """The largest allowed value of each quantity; latencies in ns or in cycles."""

    latency_ns: float | None = None
    latency_cycles: int | None = None
    cells: tuple[tuple[str, float], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Parse limits separated by commas."""
        latency_ns, latency_cycles, cells = None, None, []
        for part in filter(None, (part.strip() for part in text.split(","))):
            found = re.fullmatch(r"(\w+)\s*<=?\s*(\d+(?:\.\d+)?)\s*(ns|us|µs|cycles?|)", part)
            if found is None:
                raise UsageError(f"cannot read the budget {part!r}; write it like {BUDGET_EXAMPLE}")
            name, number, unit = found.group(1).lower(), float(found.group(2)), found.group(3)
            if name not in QUANTITIES:
                raise UsageError(
                    f"a budget has no {name!r}; {did_you_mean(name, QUANTITIES)}".rstrip("; ")
                    + f" (it may limit {', '.join(QUANTITIES)})"
                )
            if name == "latency" and unit in LATENCY_UNITS:
                latency_ns = number * LATENCY_UNITS[unit]
            elif name == "latency" and unit.startswith("cycle"):
                latency_cycles = int(number)
            elif name == "latency" or unit:
                raise UsageError(
                    f"the budget {part!r} needs {'a unit: ns, us or cycles' if name == 'latency' else 'no unit'}"
                )
            else:
                cells.append((name, number))
        return cls(latency_ns, latency_cycles, tuple(cells))

    def check_estimate(self, record: FirmwareRecord) -> None:
        """Check the latency and the estimate of LUTs, before synthesis."""
        self._check_latency(record)
        for name, most in self.cells:
            if name == "lut" and record.lut_estimate > most:
                worst = max(record.layers, key=lambda layer: layer.lut_estimate)
                raise ModelError(
                    f"{record.bundle} needs about {record.lut_estimate:.0f} LUT by estimate, the budget is {most:g}; the layer "
                    f"{worst.name} takes {worst.lut_estimate:.0f}: prune it or use fewer bits (tamis compress), or share more (--reuse)"
                )

    def check(self, record: FirmwareRecord) -> None:
        """Check the cells that synthesis counted."""
        cells = record.synthesis
        if cells is None:
            return
        counted = {"lut": cells.lut, "ff": cells.flip_flops, "dsp": cells.dsp, "bram": cells.block_memories}
        for name, most in self.cells:
            if counted[name] > most:
                raise ModelError(
                    f"{record.bundle} takes {counted[name]} {name.upper()} after synthesis, the budget is {most:g}: prune it, "
                    "use fewer bits, or raise the budget"
                )

    def _check_latency(self, record: FirmwareRecord) -> None:
        limits = (
            (self.latency_ns, record.latency_ns, "ns"),
            (self.latency_cycles, record.latency_cycles, "cycles"),
        )
        for most, actual, unit in limits:
            if most is not None and actual > most:
                raise ModelError(
                    f"{record.bundle} has a latency of {actual:.4g} {unit} at {record.clock_mhz:g} MHz, the budget is {most:g} {unit}: "
                    f"use fewer layers, {'less reuse, ' * (record.reuse > 1)}or another clock"
                )
