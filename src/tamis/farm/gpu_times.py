"""GPU times of stages that no record has: given as options, in a file, or published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from pydantic import Field

from tamis._base import DataError, Document, UsageError, did_you_mean, parse_document

JOINED = " + "  # between the names of stages that share one time
Times = float | dict[float, float]  # milliseconds, or those by pile-up


class GpuTimesFile(Document):
    """GPU times of stages."""

    source: str = Field(description="where the times come from; it is printed with the result")
    times: dict[str, Times] = Field(
        description="milliseconds per event by stage, or by stage and pile-up; 'clusters + space points' is one time of both"
    )
    cells_per_event: float | None = Field(
        default=None,
        description="of the events that were timed; records of events of other sizes are rejected",
    )


# The table of TrackML events is of ten events, and read as their sum: its 5.7 s for seeding on the CPU are eight times what ACTS takes for one.
PUBLISHED_GPU_TIMES = GpuTimesFile(
    source="published table of SMARTHEP ESR 12 (TrackML detector, ttbar at pile-up 200), a tenth of its values, which are read as sums over its 10 events",
    times={"clusters + space points": 0.3832, "seeding": 1.6365, "parameters": 0.0365},
    cells_per_event=368_478,
)
SIZE_TOLERANCE = 0.5  # relative difference in cells per event up to which times of other events are used


class GivenTimes:
    """GPU times from one source."""

    def __init__(self, file: GpuTimesFile, stages: Sequence[str]) -> None:
        """Check the names of the stages."""
        self.source = file.source
        self.cells_per_event = file.cells_per_event
        self.times: dict[tuple[str, ...], Times] = {}
        for name, times in file.times.items():
            parts = tuple(part.strip().replace("-", " ") for part in name.split("+"))
            for part in parts:
                if part not in stages:
                    hint = did_you_mean(part, list(stages))
                    raise UsageError(
                        f"{self.source}: no stage is called {part!r}: stages are {', '.join(stages)}; {hint}".rstrip(
                            "; "
                        )
                    )
            values = list(times.values()) if isinstance(times, Mapping) else [times]
            if not values or not all(0 < value < float("inf") for value in values):
                raise UsageError(f"{self.source}: the GPU time of {name} is {times}; it must be above 0 ms")
            self.times[tuple(part for part in stages if part in parts)] = times

    def at(self, stages: tuple[str, ...], pile_up: float | None) -> float | None:
        """Return the time of stages that share one, interpolated between the pile-ups that it is given for."""
        times = self.times.get(stages)
        if not isinstance(times, Mapping):
            return times
        if pile_up is None:
            raise DataError(
                f"{self.source}: the GPU time of {JOINED.join(stages)} is given by pile-up, which the records lack: give a single time, or track files with Pileup_nPU"
            )
        known = sorted(times)
        if not known[0] <= pile_up <= known[-1]:
            raise DataError(
                f"{self.source}: GPU times of {JOINED.join(stages)} are of pile-ups from {known[0]:g} to {known[-1]:g}, and a record has {pile_up:.3g}: add times for it"
            )
        return float(np.interp(pile_up, known, [times[one] for one in known]))

    def check_size(self, cells_per_event: float) -> None:
        """Raise DataError if the times are of events of another size."""
        timed = self.cells_per_event
        if timed is not None and abs(cells_per_event / timed - 1) > SIZE_TOLERANCE:
            raise DataError(
                f"{self.source}: these GPU times are of events of {timed:.0f} cells, and a record has {cells_per_event:.0f} per event: give times with --gpu-time"
            )


def parse_gpu_times(options: Sequence[str]) -> GpuTimesFile | None:
    """Return the times of `STAGE=MS` options, None without any."""
    times: dict[str, Times] = {}
    for option in options:
        name, sign, value = option.partition("=")
        try:
            times[name.strip()] = float(value)
        except ValueError:
            sign = ""
        if not sign:
            raise UsageError(
                f"--gpu-time takes STAGE=MS, such as seeding=1.6 or 'clusters + space points=0.4', not {option!r}"
            )
    return GpuTimesFile(source="--gpu-time", times=times) if times else None


def read_gpu_times(path: Path) -> GpuTimesFile:
    """Read a YAML or JSON file of times."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a file of GPU times: {error}") from error
    return parse_document(text, GpuTimesFile, str(path))
