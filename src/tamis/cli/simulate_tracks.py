"""`tamis simulate tracks`: cells of a silicon tracker with the particles that they are from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tamis._base import UsageError, now_ns, progress
from tamis.cli.output import json_option, print_json

if TYPE_CHECKING:
    from tamis.events.detector import DetectorFiles


@click.command(
    name="tracks",
    epilog="Example: tamis simulate tracks --process ttbar --mu 200 -n 10 --seed 1 -o tracks.root",
)
@click.option("-n", "--events", type=click.IntRange(1), required=True, help="Number of events.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="File to write: .root or .parquet.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    help="Determines the result, together with the options.",
)
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=1,
    show_default=True,
    help="Number of worker processes; the result does not depend on it.",
)
@click.option("--mu", type=float, default=0.0, show_default=True, help="Mean number of pile-up collisions.")
@click.option(
    "--process",
    "of_tracks",
    help="Collisions such as qcd or ttbar (the default), or a gun: muon, pion, electron.",
)
@click.option("--pt", help="Of a gun: transverse momenta in GeV, such as 0.5:100; uniform in the logarithm.")
@click.option("--particles", type=click.IntRange(1), help="Of a gun: particles in each event; default 10.")
@click.option(
    "--geometry",
    type=click.Path(exists=True, path_type=Path),
    help="detectors.csv of ACTS or TrackML; default: the generic detector.",
)
@click.option(
    "--digitisation",
    type=click.Path(exists=True, path_type=Path),
    help="JSON file of ACTS' geometric digitisation, which divides the modules of --geometry into cells.",
)
@click.option(
    "--field",
    type=float,
    default=2.0,
    show_default=True,
    help="With --geometry: magnetic field along the beam, in tesla.",
)
@click.option(
    "--field-map",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Map of the solenoid (r, z, Br, Bz) as `tamis solenoid` writes it; default: 2 T everywhere.",
)
@click.option(
    "--with",
    "simulator",
    type=click.Choice(["tamis", "acts"]),
    default="tamis",
    show_default=True,
    help="The fast simulation of tamis, or Fatras and the digitisation of ACTS (extra acts), for the same particles.",
)
@click.option(
    "--acts-python",
    help="With --with acts: a Python that can import acts.examples; default: the one that runs tamis.",
)
@json_option
def command(
    events: int,
    output: Path,
    seed: int,
    workers: int,
    mu: float,
    of_tracks: str | None,
    pt: str | None,
    particles: int | None,
    geometry: Path | None,
    digitisation: Path | None,
    field: float,
    field_map: Path | None,
    simulator: str,
    acts_python: str | None,
    as_json: bool,
) -> None:
    """Simulate the cells of a silicon tracker with charge, and the particles and hits that they are from, for `tamis track`."""
    from tamis.events.detector import DetectorFiles

    files = DetectorFiles(geometry, digitisation, field, field_map)
    _simulate(
        of_tracks, pt, particles, mu, events, output, seed, workers, files, simulator, acts_python, as_json=as_json
    )  # fmt: skip


def _simulate(
    process: str | None,
    pt: str | None,
    particles: int | None,
    mu: float,
    events: int,
    output: Path,
    seed: int,
    workers: int,
    detector: DetectorFiles,
    simulator: str,
    acts_python: str | None,
    *,
    as_json: bool,
) -> None:
    """Simulate events and write them to a ROOT or Parquet file."""
    import awkward as ak

    from tamis.events import open_writer
    from tamis.simulate.silicon import GUNS, TrackSample, simulate_tracks
    from tamis.simulate.silicon.acts import simulate_with_acts

    if simulator == "acts" and detector.paths:
        raise UsageError(
            "--with acts simulates the generic detector of ACTS in a constant field: leave out --geometry, --digitisation and --field-map"
        )
    if simulator != "acts" and acts_python is not None:
        raise UsageError("--acts-python is for --with acts: add that, or leave it out")
    process = process or "ttbar"
    if process not in GUNS and (pt is not None or particles is not None):
        raise UsageError(
            f"--pt and --particles apply to {', '.join(GUNS)}, and {process} is a process: leave them out"
        )
    sample = TrackSample(process, mu=mu)
    if pt is not None:
        sample = replace(sample, pt=_range(pt))
    if particles is not None:
        sample = replace(sample, particles=particles)
    if simulator == "acts":
        detector.open()  # which rejects a field that is not that of the generic detector
        batches = simulate_with_acts(sample, events, seed=seed, workers=workers, python=acts_python)
    else:
        batches = simulate_tracks(sample, events, seed=seed, workers=workers, detector=detector)
    start, cells, hits = now_ns(), 0, 0
    with open_writer(output) as writer, progress(f"simulating {process}", events, "events") as advance:
        for batch in batches:
            writer.write(batch)
            cells += int(ak.count(batch["Cell_u"]))
            hits += int(ak.count(batch["Hit_x"]))
            advance(len(batch))
    seconds = (now_ns() - start) / 1e9
    facts = {
        "file": str(output),
        "process": process,
        "mu": mu,
        "events": events,
        "hits": hits,
        "cells": cells,
        "seed": seed,
        "seconds": seconds,
    }
    if as_json:
        print_json(facts)
    else:
        click.echo(
            f"{output}: {events} {process} events, {hits / events:.0f} hits and {cells / events:.0f} cells each, {events / seconds:.2g} events/s"
        )


def _range(text: str) -> tuple[float, float]:
    try:
        low, _, high = text.partition(":")
        return float(low), float(high or low)
    except ValueError as error:
        raise UsageError(f"--pt is {text!r}: write two transverse momenta in GeV, such as 0.5:100") from error
