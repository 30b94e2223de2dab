"""`tamis track`: from cells to tracks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tamis._base import MissingExtraError, UsageError, human_bytes, progress
from tamis.cli.output import json_option, print_json, print_table, print_text, say

if TYPE_CHECKING:
    from tamis.records.tracking import TrackingRecord

BROKEN_SHOWN = 5
PAGE_RECORD = "tracking.json"


@click.command(
    name="track",
    epilog="Examples: tamis track tracks.root -o found.root; tamis track acts/ --geometry acts/detectors.csv --digitisation digi.json -o found.root",
)
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    help="File of tracks to write: .root or .parquet; or a folder or a name that ends in .csv, for one CSV file per event as ACTS writes them.",
)
@click.option(
    "--geometry",
    type=click.Path(exists=True, path_type=Path),
    help="detectors.csv of ACTS or TrackML; default: the generic detector.",
)
@click.option(
    "--digitisation",
    type=click.Path(exists=True, path_type=Path),
    help="JSON file of ACTS' geometric digitisation: cells of modules.",
)
@click.option(
    "--field", type=float, default=2.0, show_default=True, help="Magnetic field along the beam, in tesla."
)
@click.option(
    "--seeds-from",
    type=click.Choice(["pixels", "strips", "all"]),
    help="Begin tracks with pixels, with pairs of strips, or with both; default: pixels where the detector has some, else strips.",
)
@click.option(
    "--field-map",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Map of the solenoid: columns r, z, Br, Bz in mm and tesla, as `tamis solenoid` and ACTS write them; default: a constant field.",
)
@click.option(
    "--branches",
    type=click.IntRange(1, 16),
    default=1,
    show_default=True,
    help="Branches of a seed: ways that are followed where several hits of a module fit; the best is kept.",
)
@click.option(
    "--precision",
    type=click.Choice(["float64", "float32"]),
    default="float64",
    show_default=True,
    help="Of the finding and the fit on the CPU; float32 shows what is lost by it (`tamis compare-tracks`).",
)
@click.option(
    "--stages",
    default="",
    help="Devices of stages, such as seeding=cuda,finding=cpu or all=cuda; default: the CPU.",
)
@click.option(
    "--record",
    "record_path",
    type=click.Path(path_type=Path),
    help="Write times and physics as a JSON record.",
)
@click.option(
    "--page",
    is_flag=True,
    help="Draw times and physics as an HTML page, in a folder next to the tracks: found-page for found.root.",
)
@click.option(
    "--keep-stages",
    is_flag=True,
    help="Also write clusters, space points and seeds with their parameters, for `tamis compare-tracks`.",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Number of worker processes; the result does not depend on it.",
)
@click.option(
    "--at-once",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Number of events on the GPU at the same time, each on a stream of its own; the result does not depend on it.",
)
@json_option
def command(
    source: Path,
    output: Path | None,
    geometry: Path | None,
    digitisation: Path | None,
    field: float,
    seeds_from: str | None,
    branches: int,
    precision: str,
    field_map: Path | None,
    stages: str,
    record_path: Path | None,
    page: bool,
    keep_stages: bool,
    workers: int,
    at_once: int,
    as_json: bool,
) -> None:
    """Reconstruct the tracks of SOURCE: a file of `tamis simulate tracks`, or event...-cells.csv of ACTS or TrackML, or their folder."""
    from tamis.events.detector import DetectorFiles
    from tamis.records import write_record
    from tamis.tracking import Reconstruction, track_file
    from tamis.tracking.devices import parse_devices
    from tamis.tracking.finding import FindingSettings
    from tamis.tracking.seeding import seeding_for
    from tamis.tracking.summary import is_summary

    if keep_stages and output is None:
        raise UsageError("--keep-stages writes to the file of tracks: name that with -o")
    if keep_stages and output is not None and is_summary(output):
        raise UsageError("--keep-stages writes columns: name a file that ends in .root or .parquet with -o")
    if page and output is None:
        raise UsageError("--page draws next to the file of tracks: name that with -o")
    page_folder = output.with_name(f"{output.stem}-page") if page and output is not None else None
    for path in (record_path, None if page_folder is None else page_folder / PAGE_RECORD):
        if path is not None and path.exists():  # before hours of work
            raise UsageError(
                f"the record {path} exists, and records are never overwritten; choose another name"
            )
    devices = parse_devices(stages)
    detector = DetectorFiles(geometry, digitisation, field, field_map).open()
    finding = FindingSettings(branches_max=branches, precision=precision)
    with progress("tracking", None, "events") as advance:
        record = track_file(
            source,
            Reconstruction(
                detector, seeding=seeding_for(detector, seeds_from), finding=finding, devices=devices
            ),
            output,
            advance,
            workers,
            keep_stages=keep_stages,
            at_once=at_once,
        )
    if record_path is not None:
        write_record(record, record_path)
    if as_json:
        print_json(record)
    else:
        _print(record)
        if output is not None:
            print_text(f"{record.tracks} tracks in {output}")
    if page_folder is not None:
        _draw(record, page_folder)


def _draw(record: TrackingRecord, folder: Path) -> None:
    """Write the page of the reconstruction, if the plotting libraries are installed."""
    from tamis.records import write_record
    from tamis.report import write_report

    path = folder / PAGE_RECORD
    write_record(record, path)
    try:
        page = write_report([path], folder)
    except MissingExtraError as error:
        say(f"no page was drawn: {error}")
    else:
        say(f"the page: file://{page.resolve()}")


def _print_transfers(record: TrackingRecord) -> None:
    rows = [
        (one.what, one.to.upper(), f"{one.count:.3g}", human_bytes(one.bytes), f"{one.mean_ms:.2f}", "-" if one.link_ms is None else f"{one.link_ms:.2f}")
        for one in record.transfers
    ]  # fmt: skip
    title = "copies of an event" + (", in the simulator" if record.simulated_gpu else "")
    print_table(title, ("copied", "to", "copies", "size", "ms", "ms of the link"), rows, keys=2)


def _print(record: TrackingRecord) -> None:
    gpu = "GPU (simulated)" if record.simulated_gpu else "GPU"
    rows = [
        (one.stage, gpu if one.device == "gpu" else "CPU", f"{one.mean_ms:.2f}", f"{one.p50_ms:.2f}", f"{one.p99_ms:.2f}")
        for one in record.stages
    ]  # fmt: skip
    total = record.together
    rows.append((total.stage, "", f"{total.mean_ms:.2f}", f"{total.p50_ms:.2f}", f"{total.p99_ms:.2f}"))
    where = "one core" if record.workers == 1 else f"{record.workers} cores"
    print_table(
        f"{record.source}: {record.events} events on {where}", ("stage", "on", "mean ms", "p50 ms", "p99 ms"), rows, keys=2
    )  # fmt: skip
    if record.transfers:
        _print_transfers(record)
    if record.events_per_second is not None:
        print_text(
            f"{record.events_per_second:.3g} events/s in {record.seconds:.3g} s, with reading and writing"
        )
    if record.physics is not None:
        physics = record.physics
        for name, fraction in (
            ("efficiency", physics.efficiency),
            ("fakes", physics.fakes),
            ("duplicates", physics.duplicates),
        ):
            print_text(
                f"{name}: {100 * fraction.value:.2f} % ({100 * fraction.low:.2f} to {100 * fraction.high:.2f} at 95 %), {fraction.passed} of {fraction.total}"
            )
        print_text(f"  of particles: {physics.particles}")
        print_table(
            "tracks minus particles",
            ("parameter", "width", "unit", "pull width", "pull median"),
            [
                (
                    one.parameter,
                    f"{one.width:.3g}",
                    one.unit,
                    f"{one.pull_width:.3f}",
                    f"{one.pull_median:+.3f}",
                )
                for one in physics.residuals
            ],
        )
    for broken in record.broken[:BROKEN_SHOWN]:
        print_text(f"event {broken.event} has no tracks: {broken.reason}")
    if len(record.broken) > BROKEN_SHOWN:
        print_text(f"... and {len(record.broken) - BROKEN_SHOWN} further events")
