"""`tamis place`: which stages of the track reconstruction belong on the CPU, and which on a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tamis._base import MissingExtraError, UsageError, progress
from tamis.cli.output import json_option, print_json, print_table, print_text, say

if TYPE_CHECKING:
    from tamis.records import PlacementKnee, PlacementRecord, PlacementStudy

PRICE = click.FloatRange(min=0, min_open=True)
PLACEMENT_RECORD = "placement.json"


@click.command(
    name="place",
    epilog="Examples: tamis track events.root --record records/cpu.json, and on a host with a GPU tamis track events.root --stages all=cuda --record records/gpu.json; "
    "then tamis place records/ --cores 16 --gpus 1 --link pcie5 --rate 1kHz -o placement/. Without a GPU: --gpu-time seeding=1.6 --gpu-time finding=4.",
)
@click.argument("records", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--cores", type=click.IntRange(1), default=16, show_default=True, help="Number of cores.")
@click.option("--gpus", type=click.IntRange(0), default=1, show_default=True, help="Number of GPUs; each has a link of its own.")  # fmt: skip
@click.option("--link", default="pcie4", show_default=True, help="pcie3, pcie4, pcie5, nvlink-c2c, or GB/s and us per copy: 25,8.")  # fmt: skip
@click.option("--gpu-time", "gpu_time", multiple=True, metavar="STAGE=MS", help="GPU time per event of a stage, instead of that of a record; repeatable.")  # fmt: skip
@click.option("--gpu-times", "gpu_times", type=click.Path(path_type=Path), help="YAML or JSON file of GPU times: source, and times by stage or by stage and pile-up.")  # fmt: skip
@click.option("--published", is_flag=True, help="Use published GPU times for stages that have no other; of events at pile-up 200.")  # fmt: skip
@click.option("--host-ms", type=click.FloatRange(min=0), default=0.0, show_default=True, help="CPU time per event besides the stages, such as for reading.")  # fmt: skip
@click.option("--rate", help="Event rate that cores and GPUs are bought for, such as 100kHz.")
@click.option("--load", type=click.FloatRange(0, 1, min_open=True), default=0.8, show_default=True, help="Fraction of the capacity to buy and to simulate for.")  # fmt: skip
@click.option("--core-price", type=PRICE, help="Price of one core, in any currency.")
@click.option("--gpu-price", type=PRICE, help="Price of one GPU, in the same currency.")
@click.option("--top", type=click.IntRange(1), default=8, show_default=True, help="Number of placements and of purchases to print; the record has all.")  # fmt: skip
@click.option("--simulate", "simulated", type=click.IntRange(0), default=3, show_default=True, help="Number of best placements to simulate, besides the one without a GPU; 0: none.")  # fmt: skip
@click.option("--events", type=click.IntRange(100), default=3000, show_default=True, help="Simulated events per placement.")  # fmt: skip
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the simulation.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder for the record, the page and its figures.")  # fmt: skip
@json_option
def command(
    records: tuple[Path, ...],
    gpu_time: tuple[str, ...],
    gpu_times: Path | None,
    output: Path | None,
    as_json: bool,
    published: bool,
    top: int,
    **options: Any,
) -> None:
    """Place the stages of the track reconstruction on CPU and GPU, from RECORDS of `tamis track` (files or folders).

    Tries every assignment of the stages: throughput, latency, bottleneck; where more cores or GPUs stop to pay off; what to buy for a rate.
    """
    from tamis.farm import (
        PUBLISHED_GPU_TIMES,
        parse_gpu_times,
        read_gpu_times,
        read_tracking,
        study_placements,
    )
    from tamis.records import write_record

    request = _request(options)
    given = [
        parse_gpu_times(gpu_time),
        read_gpu_times(gpu_times) if gpu_times is not None else None,
        PUBLISHED_GPU_TIMES if published else None,
    ]
    path = None if output is None else output / PLACEMENT_RECORD
    if path is not None and path.exists():
        raise UsageError(
            f"the record {path} exists, and records are never overwritten; choose another folder"
        )
    found = read_tracking(records)
    with progress("simulating", None, "placements") as advance:
        record = study_placements(found, [one for one in given if one is not None], request, advance)
    if path is not None:
        write_record(record, path)
    if as_json:
        print_json(record)
    else:
        _print(record, top)
    if path is not None:
        _draw(path)


def _request(options: dict[str, Any]) -> Any:
    from tamis.farm import PlacementRequest, PlacementResources, parse_link
    from tamis.measure import rate_hz

    rate = options.pop("rate")
    return PlacementRequest(
        resources=PlacementResources(options.pop("cores"), options.pop("gpus")),
        link=parse_link(options.pop("link")),
        rate_hz=None if rate is None else rate_hz(rate),
        **options,
    )


def _draw(path: Path) -> None:
    """Write the page next to the record, if the plotting libraries are installed."""
    from tamis.report import write_report

    try:
        page = write_report([path], path.parent)
    except MissingExtraError as error:
        say(f"no page was drawn: {error}")
    else:
        say(f"the page: file://{page.resolve()}")


def _print(record: PlacementRecord, top: int) -> None:
    link = record.link
    print_text(
        f"{record.cores} cores, {record.gpus} GPUs, link {link.name}: {link.gb_per_s:g} GB/s each way and {link.copy_us:g} us per copy ({link.source})"
    )
    for study in record.studies:
        _print_study(record, study, top)
    if len(record.studies) > 1:
        print_table(
            "best placement by size of the events",
            ("events", "stages", "bottleneck", "events/s", "without a GPU", "gain"),
            list(_by_size(record)),
            keys=2,
        )
    for note in record.notes:
        print_text(f"note: {note}")


def _print_study(record: PlacementRecord, study: PlacementStudy, top: int) -> None:
    names = ", ".join(one.name for one in study.stages)
    print_text("")
    print_text(f"{_size(study)}; stages: {names}; C: CPU, G: GPU, *: on the front of throughput and latency")
    print_table(
        f"the best of {len(study.placements)} placements",
        ("stages", "", "bottleneck", "events/s", "latency ms", "CPU ms", "GPU ms", "link ms", "copies"),
        [
            (
                one.stages, "*" if one.on_front else "", one.bottleneck, f"{one.events_per_second:.4g}", f"{one.latency_ms:.4g}",
                f"{one.cpu_ms:.4g}", f"{one.gpu_ms:.4g}", f"{one.link_ms:.3g}", one.copies,
            )
            for one in study.placements[:top]
        ],
        keys=3,
    )  # fmt: skip
    for knee in study.knees:
        print_text(_knee_sentence(study, knee))
    if study.simulated:
        print_table(
            f"simulated: saturated, and random arrivals at {100 * record.load:.0f} % of the formula",
            ("stages", "formula events/s", "saturated", "offered", "p50 ms", "p99 ms", "cores busy", "GPUs busy", "links busy"),
            [
                (
                    one.stages, f"{one.formula_events_per_second:.4g}", f"{one.saturated_events_per_second:.4g}",
                    f"{one.offered_events_per_second:.4g}", f"{one.latency.p50_us / 1e3:.4g}", f"{one.latency.p99_us / 1e3:.4g}",
                    f"{100 * one.cores_busy:.0f} %", f"{100 * one.gpus_busy:.0f} %", f"{100 * one.links_busy:.0f} %",
                )
                for one in study.simulated
            ],
        )  # fmt: skip
    if study.runs:
        print_table(
            "measured with all stages on the CPU",
            ("record of", "workers", "cores / CPU time", "measured events/s", "ms outside the stages"),
            [
                (
                    one.source, one.workers, f"{one.predicted_events_per_second:.4g}",
                    f"{one.measured_events_per_second:.4g}", f"{one.outside_ms:.3g}",
                )
                for one in study.runs
            ],
        )  # fmt: skip
    if record.rate_hz is not None:
        _print_purchases(record, study, top)


def _print_purchases(record: PlacementRecord, study: PlacementStudy, top: int) -> None:
    priced = record.core_price is not None
    print_table(
        f"to buy for {record.rate_hz:g} events/s at {100 * record.load:.0f} % load, {'the cheapest' if priced else 'the fewest devices'} first",
        ("stages", "cores", "GPUs", *(("cost",) if priced else ()), "events/s at full load", "latency ms"),
        [
            (
                one.stages, one.cores, one.gpus, *((f"{one.cost:.0f}",) if one.cost is not None else ()), f"{one.events_per_second:.4g}", f"{one.latency_ms:.4g}",
            )
            for one in study.purchases[:top]
        ],
    )  # fmt: skip


def _knee_sentence(study: PlacementStudy, knee: PlacementKnee) -> str:
    best = study.placements[0].stages
    if knee.count is None:
        return f"knee of {best}: none, every further one of the {knee.of} brings as much as the first"
    return f"knee of {best}: {knee.count} {knee.of}, {knee.events_per_second:.4g} events/s; one more brings less than 5 % of what the first brings"


def _by_size(record: PlacementRecord) -> Iterator[tuple[str, ...]]:
    for study in record.studies:
        best = study.placements[0]
        alone = next(one for one in study.placements if "G" not in one.stages)
        yield (
            _size(study), best.stages, best.bottleneck, f"{best.events_per_second:.4g}", f"{alone.events_per_second:.4g}",
            f"{best.events_per_second / alone.events_per_second:.2f}",
        )  # fmt: skip


def _size(study: PlacementStudy) -> str:
    pile_up = "" if study.pile_up is None else f"pile-up {study.pile_up:.3g}, "
    return f"{study.name}: {pile_up}{study.cells_per_event:.0f} cells per event"
