"""`tamis simulate tracks`: cells of a silicon tracker with the particles that they are from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tamis._base import UsageError, now_ns, progress
from tamis.cli.output import print_json

if TYPE_CHECKING:
    from tamis.events.detector import DetectorFiles


def simulate_track_events(
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
