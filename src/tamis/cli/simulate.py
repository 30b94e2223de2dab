"""`tamis simulate`: simulate collisions, or samples of arrays."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click

from tamis._base import UsageError, now_ns, progress
from tamis.cli.by_word import ByWord
from tamis.cli.output import json_option, print_json

if TYPE_CHECKING:
    from tamis.simulate import SimulationSettings

COLLISION_OPTIONS = (
    "pt_hat",
    "pt_hat_max",
    "pt_hat_power",
    "mass",
    "mu",
    "energy",
    "tune",
    "low_level",
    "level1",
)


class _Samples(ByWord):
    modules: ClassVar = {"tracks": "simulate_tracks", "lar-stream": "simulate_stream"}


@click.command(
    name="simulate",
    cls=_Samples,
    epilog="Example: tamis simulate qcd -n 20000 --seed 1 --workers 2 -o qcd.root",
)
@click.argument("process")
@click.option(
    "-n", "--events", type=click.IntRange(1), required=True, help="Number of events, or of rows of a sample."
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="File to write: .root or .parquet for collisions, .h5 for samples; or the folder of a sample.",
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
@click.option(
    "--pt-hat",
    type=float,
    help="Minimum transverse momentum of the hard scatter, GeV (qcd, qcd-lepton, qcd-fake, ttbar, w-lepton, photon-jet, z-ee).",
)
@click.option("--pt-hat-max", type=float, help="Maximum transverse momentum of the hard scatter, GeV.")
@click.option(
    "--pt-hat-power",
    type=float,
    default=0.0,
    show_default=True,
    help="Generate hard collisions more often, by pT-hat to this power; genWeight undoes it. 4 suits a trigger's rates.",
)
@click.option("--mass", type=float, help="Mass of the resonance, GeV.")
@click.option("--mu", type=float, default=0.0, show_default=True, help="Mean number of pile-up collisions.")
@click.option("--energy", type=float, default=13600.0, show_default=True, help="Centre-of-mass energy, GeV.")
@click.option(
    "--tune", default="fast", show_default=True, help="fast, or monash: Pythia's default without shortcuts."
)
@click.option(
    "--low-level",
    is_flag=True,
    help="Write calorimeter cells, all tracks and pixel hits as well (large files).",
)
@click.option(
    "--level1",
    is_flag=True,
    help="Write the objects of the Level-1 trigger and the regions of its calorimeter as well.",
)
@json_option
def command(
    process: str,
    events: int,
    output: Path,
    seed: int,
    workers: int,
    pt_hat: float | None,
    pt_hat_max: float | None,
    pt_hat_power: float,
    mass: float | None,
    mu: float,
    energy: float,
    tune: str,
    low_level: bool,
    level1: bool,
    as_json: bool,
) -> None:
    """Simulate PROCESS: generator, detector response and jets, with NanoAOD's column names.

    PROCESS is one of qcd, w-prime, z-prime-tt, graviton-ww, ttbar, w-lepton, min-bias, qcd-lepton, qcd-fake, photon-jet,
    z-ee, z-prime-tautau.

    Or it is a sample of arrays for models on coprocessors (hcal-channels, wire-patches, ecal-clusters) or in Level-1 triggers
    (jets-hlf). With a folder as OUTPUT, its file is NAME-SEED.h5, so that samples with other seeds can be added.

    Two samples have options of their own, see `tamis simulate NAME --help`: tracks (cells of a silicon tracker, for `tamis track`) and
    lar-stream (the data quality of a calorimeter while it takes data, for `tamis monitor`).
    """
    from tamis.simulate import ARRAY_SAMPLES

    if process in ARRAY_SAMPLES:
        _reject_collision_options(process)
        _simulate_sample(process, events, output, seed, workers, as_json=as_json)
        return
    from tamis.simulate import SimulationSettings

    settings = SimulationSettings(
        pt_hat_gev=pt_hat,
        pt_hat_max_gev=pt_hat_max,
        pt_hat_power=pt_hat_power,
        mass_gev=mass,
        mu=mu,
        com_energy_gev=energy,
        tune=tune,
        low_level=low_level,
        level1=level1,
    )
    _simulate_collisions(process, events, output, seed, workers, settings, as_json=as_json)


def _simulate_collisions(
    process: str,
    events: int,
    output: Path,
    seed: int,
    workers: int,
    settings: SimulationSettings,
    *,
    as_json: bool,
) -> None:
    """Simulate collisions and write them to a file."""
    import awkward as ak

    from tamis.events import open_writer
    from tamis.simulate import simulate

    batches = simulate(process, events, seed=seed, workers=workers, settings=settings)
    start, jets, cross_section = now_ns(), 0, 0.0
    with open_writer(output) as writer, progress(f"simulating {process}", events, "events") as advance:
        for batch in batches:
            writer.write(batch)
            jets += int(ak.count(batch["FatJet_pt"]))
            cross_section += float(ak.sum(batch["tamis_cross_section_pb"])) / events
            advance(len(batch))
    seconds = (now_ns() - start) / 1e9
    facts = {
        "file": str(output),
        "process": process,
        "events": events,
        "fat_jets": jets,
        "cross_section_pb": cross_section,
        "seed": seed,
        "seconds": seconds,
    }
    if as_json:
        print_json(facts)
    else:
        click.echo(
            f"{output}: {events} {process} events, {jets} fat jets, {cross_section:.4g} pb, {events / seconds:.0f} events/s"
        )


def _reject_collision_options(name: str) -> None:
    """Raise `UsageError` for options that apply to collisions only."""
    context = click.get_current_context()
    for parameter in context.command.params:
        source = parameter.name and context.get_parameter_source(parameter.name)
        if source is click.core.ParameterSource.COMMANDLINE and parameter.name in COLLISION_OPTIONS:
            raise UsageError(
                f"{parameter.opts[0]} applies to collisions, and {name} is a sample of arrays: omit it"
            )


def _simulate_sample(name: str, rows: int, output: Path, seed: int, workers: int, *, as_json: bool) -> None:
    """Simulate a sample of arrays and write it to a file, or to a file in a folder."""
    from tamis.events import open_array_writer
    from tamis.simulate import ARRAY_SAMPLES, simulate_sample

    blocks = simulate_sample(name, rows, seed=seed, workers=workers)
    if output.is_dir() or not output.suffix:
        output = output / f"{name}-{seed}.h5"
    start, unit = now_ns(), ARRAY_SAMPLES[name].rows
    with open_array_writer(output) as writer, progress(f"simulating {name}", rows, unit) as advance:
        for arrays in blocks:
            writer.write(arrays)
            shapes = {key: list(values.shape[1:]) for key, values in arrays.items()}
            advance(len(next(iter(arrays.values()))))
    seconds = (now_ns() - start) / 1e9
    if as_json:
        print_json(
            {
                "file": str(output),
                "sample": name,
                "rows": rows,
                "arrays": shapes,
                "seed": seed,
                "seconds": seconds,
            }
        )
    else:
        click.echo(f"{output}: {rows} {unit}, {', '.join(shapes)}, {rows / seconds:.0f} {unit}/s")
