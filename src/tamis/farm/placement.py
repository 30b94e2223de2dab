"""All placements of the stages on CPU and GPU: throughput, latency, the knee, and what to buy for a rate.

    throughput = min(cores / t_CPU, GPUs / t_GPU, GPUs / t_link),    latency = t_CPU + t_GPU + t_link

t_CPU and t_GPU are sums over the stages on each device, per event. t_link is the sum over all copies, in both directions, of a
fixed time and bytes / bandwidth: what a stage writes is copied once if any of its readers is on the other device. The input
comes from the host, and the output goes there. Every GPU has a link of its own. Different events overlap; stages of one do not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import ceil, inf
from typing import Literal

from tamis.farm.placement_inputs import StageSample
from tamis.records import (
    PlacedStage,
    Placement,
    PlacementKnee,
    PlacementLink,
    Purchase,
    ScalingPoint,
    StageBoundary,
)

HOST, ACCELERATOR = "C", "G"
KNEE_SHARE = 0.05  # of what the first core or GPU brings
COUNT_ROUNDING = 1e-9  # relative; 16 cores must do for exactly 16
CURVE_POINTS = 48  # at most, of throughput against the number of cores or GPUs
GPUS_DRAWN = 8
UNLIMITED = 10**9


@dataclass(frozen=True)
class PlacementResources:
    """The number of cores and GPUs."""

    cores: int
    gpus: int


def placements(sample: StageSample, link: PlacementLink, resources: PlacementResources) -> list[Placement]:
    """Return all placements, the highest throughput first, then the lowest latency."""
    found = sorted(
        (_placement(sample, letters, link, resources) for letters in _assignments(sample.stages)),
        key=lambda one: (-one.events_per_second, one.latency_ms),
    )
    lowest, marked = inf, []
    for one in found:
        marked.append(one.model_copy(update={"on_front": one.latency_ms < lowest}))
        lowest = min(lowest, one.latency_ms)
    return marked


def _assignments(stages: Sequence[PlacedStage]) -> Iterator[tuple[str, ...]]:
    """Yield the letters of all assignments; a stage without a GPU time stays on the CPU."""
    return product(*((HOST, ACCELERATOR) if stage.gpu_ms is not None else (HOST,) for stage in stages))


def _placement(
    sample: StageSample, letters: tuple[str, ...], link: PlacementLink, resources: PlacementResources
) -> Placement:
    placed = list(zip(sample.stages, letters, strict=True))
    cpu_ms = sum((stage.cpu_ms for stage, letter in placed if letter == HOST), sample.host_ms)
    gpu_ms = sum((stage.gpu_ms or 0.0 for stage, letter in placed if letter == ACCELERATOR), 0.0)
    copied = list(copies(sample, letters))
    sizes = {
        end: sum((boundary.bytes for boundary, to in copied if to == end), 0.0) for end in (HOST, ACCELERATOR)
    }
    link_ms = sum((copy_ms(boundary, link) for boundary, _ in copied), 0.0)
    one = Placement(
        stages=" ".join(letters), cpu_ms=cpu_ms, gpu_ms=gpu_ms, link_ms=link_ms, copies=len(copied), to_gpu_bytes=sizes[ACCELERATOR],
        to_cpu_bytes=sizes[HOST], events_per_second=0.0, latency_ms=cpu_ms + gpu_ms + link_ms, bottleneck="cores", on_front=False,
    )  # fmt: skip
    rate, bottleneck = _throughput(one, resources)
    return one.model_copy(update={"events_per_second": rate, "bottleneck": bottleneck})


def copies(sample: StageSample, letters: Sequence[str]) -> Iterator[tuple[StageBoundary, str]]:
    """Yield what is copied in a placement, and to which side, in the order in which it is written."""
    side = {
        name: letter for stage, letter in zip(sample.stages, letters, strict=True) for name in stage.stages
    }
    for boundary in sample.boundaries:
        written = HOST if boundary.written_by is None else side[boundary.written_by]
        readers = {side[name] for name in boundary.read_by} or {HOST}
        yield from ((boundary, reader) for reader in readers if reader != written)


def copy_ms(boundary: StageBoundary, link: PlacementLink) -> float:
    """Return the time of one copy."""
    return link.copy_us / 1e3 + boundary.bytes / link.gb_per_s / 1e6


def _throughput(
    one: Placement, resources: PlacementResources
) -> tuple[float, Literal["cores", "GPUs", "links"]]:
    """Return events per second, and what limits them."""
    limits: list[tuple[float, Literal["cores", "GPUs", "links"]]] = [
        (_rate(resources.cores, one.cpu_ms), "cores"),
        (_rate(resources.gpus, one.gpu_ms), "GPUs"),
        (_rate(resources.gpus, one.link_ms), "links"),
    ]
    return min(limits, key=lambda limit: limit[0])


def _rate(count: int, time_ms: float) -> float:
    return 1e3 * count / time_ms if time_ms else inf


def knees(found: Sequence[Placement], resources: PlacementResources) -> list[PlacementKnee]:
    """Return where another core, and another GPU, no longer pays off for the best placement."""
    return [
        _knee("cores", found, resources, resources.cores),
        _knee("GPUs", found, resources, max(GPUS_DRAWN, 2 * resources.gpus)),
    ]


def _knee(
    of: Literal["cores", "GPUs"], found: Sequence[Placement], resources: PlacementResources, drawn: int
) -> PlacementKnee:
    best, first = found[0], 1 if of == "cores" else 0

    def having(count: int) -> PlacementResources:
        return replace(resources, **{of.lower(): count})

    def at(count: int) -> float:
        return _throughput(best, having(count))[0]

    knee: int | None = None
    own = best.cpu_ms if of == "cores" else max(best.gpu_ms, best.link_ms)
    others = at(UNLIMITED)  # the limit by the other resource
    if own == 0:
        knee = first
    elif others < UNLIMITED / own:
        last = ceil(others * own / 1e3) + 1
        knee = next(
            (count for count in range(first, last) if at(count + 1) - at(count) < KNEE_SHARE * at(1)), last
        )
    most = max(drawn, 2 * (knee or 0), 2)
    counts = sorted({first, knee or first, *range(first, most + 1, max(1, most // CURVE_POINTS)), most})
    return PlacementKnee(
        of=of,
        count=knee,
        events_per_second=None if knee is None else at(knee),
        points=[_point(count, at(count), found, having(count)) for count in counts],
    )


def _point(
    count: int, rate: float, found: Sequence[Placement], resources: PlacementResources
) -> ScalingPoint:
    highest, stages = max(
        ((_throughput(one, resources)[0], one.stages) for one in found), key=lambda one: one[0]
    )
    return ScalingPoint(count=count, events_per_second=rate, best_events_per_second=highest, best=stages)


def purchases(
    found: Sequence[Placement],
    rate_hz: float,
    load: float,
    core_price: float | None = None,
    gpu_price: float | None = None,
) -> list[Purchase]:
    """Return the numbers of cores and GPUs that reach a rate at some load, the cheapest first; without prices, the smallest total first.

    Each has fewer cores or fewer GPUs than any other.
    """
    options: list[Purchase] = []
    for one in sorted(found, key=lambda one: one.latency_ms):
        cores = max(1, _count(rate_hz, load, one.cpu_ms))
        gpus = _count(rate_hz, load, max(one.gpu_ms, one.link_ms))
        cost = None if core_price is None or gpu_price is None else cores * core_price + gpus * gpu_price
        full = _throughput(one, PlacementResources(cores, gpus))[0]
        options.append(
            Purchase(stages=one.stages, cores=cores, gpus=gpus, cost=cost, events_per_second=full, latency_ms=one.latency_ms)
        )  # fmt: skip
    kept: list[Purchase] = []
    for option in sorted(options, key=lambda one: (one.gpus, one.cores)):  # of equal ones the fastest
        if not kept or option.cores < kept[-1].cores:
            kept.append(option)
    return sorted(kept, key=lambda one: (one.cores + one.gpus if one.cost is None else one.cost, one.gpus))


def _count(rate_hz: float, load: float, time_ms: float) -> int:
    return ceil(rate_hz / load * time_ms / 1e3 * (1 - COUNT_ROUNDING))
