"""`tamis track`: from cells to tracks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tamis._base import UsageError, progress
from tamis.cli.output import json_option, print_json, print_table, print_text

if TYPE_CHECKING:
    from tamis.records.tracking import TrackingRecord

BROKEN_SHOWN = 5


@click.command(
    name="track",
    epilog="Examples: tamis track tracks.root -o found.root; tamis track acts/ --geometry acts/detectors.csv --digitisation digi.json -o found.root",
)
@click.argument("source", type=click.Path(exists=True, path_type=Path))
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), help="File of tracks to write: .root or .parquet."
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
    "--record",
    "record_path",
    type=click.Path(path_type=Path),
    help="Write times and physics as a JSON record.",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Number of worker processes; the result does not depend on it.",
)
@json_option
def command(
    source: Path,
    output: Path | None,
    geometry: Path | None,
    digitisation: Path | None,
    field: float,
    record_path: Path | None,
    workers: int,
    as_json: bool,
) -> None:
    """Reconstruct the tracks of SOURCE: a file of `tamis simulate tracks`, or event...-cells.csv of ACTS or TrackML, or their folder."""
    from tamis.events.detector import generic_detector, read_detector
    from tamis.records import write_record
    from tamis.tracking import Reconstruction, track_file

    if digitisation is not None and geometry is None:
        raise UsageError("--digitisation divides the modules of a geometry into cells: give --geometry too")
    detector = generic_detector() if geometry is None else read_detector(geometry, digitisation, field=field)
    with progress("tracking", None, "events") as advance:
        record = track_file(source, Reconstruction(detector), output, advance, workers)
    if record_path is not None:
        write_record(record, record_path)
    if as_json:
        print_json(record)
        return
    _print(record)
    if output is not None:
        print_text(f"{record.tracks} tracks in {output}")


def _print(record: TrackingRecord) -> None:
    rows = [
        (one.stage, f"{one.mean_ms:.2f}", f"{one.p50_ms:.2f}", f"{one.p99_ms:.2f}")
        for one in (*record.stages, record.together)
    ]
    where = "one core" if record.workers == 1 else f"{record.workers} cores"
    print_table(
        f"{record.source}: {record.events} events on {where}", ("stage", "mean ms", "p50 ms", "p99 ms"), rows
    )
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
