"""`tamis simulate`: make collisions."""

from __future__ import annotations

from pathlib import Path

import click

from tamis._base import UsageError, now_ns, progress
from tamis.cli.output import json_option, print_json

OF_COLLISIONS = ("workers", "pt_hat", "mass", "mu", "energy", "tune", "low_level")


@click.command(
    name="simulate", epilog="Example: tamis simulate qcd -n 20000 --seed 1 --workers 2 -o qcd.root"
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
    help="File to write: .root or .parquet; .h5 for samples.",
)
@click.option(
    "--seed", type=click.IntRange(0), default=1, show_default=True, help="The result depends on it alone."
)
@click.option(
    "--workers", type=click.IntRange(1), default=1, show_default=True, help="Processes that share the work."
)
@click.option(
    "--pt-hat",
    type=float,
    help="Least transverse momentum of the hard scatter, GeV (qcd, qcd-lepton, qcd-fake, ttbar, w-lepton, photon-jet, z-ee).",
)
@click.option("--mass", type=float, help="Mass of the resonance, GeV.")
@click.option("--mu", type=float, default=0.0, show_default=True, help="Mean number of pile-up collisions.")
@click.option("--energy", type=float, default=13600.0, show_default=True, help="Centre-of-mass energy, GeV.")
@click.option("--tune", default="fast", show_default=True, help="fast, or monash for Pythia's full default.")
@click.option(
    "--low-level", is_flag=True, help="Keep calorimeter cells, all tracks and pixel hits (large files)."
)
@json_option
def command(
    process: str,
    events: int,
    output: Path,
    seed: int,
    workers: int,
    pt_hat: float | None,
    mass: float | None,
    mu: float,
    energy: float,
    tune: str,
    low_level: bool,
    as_json: bool,
) -> None:
    """Simulate PROCESS: generator, detector response and jets, in NanoAOD's names.

    PROCESS is one of qcd, w-prime, z-prime-tt, graviton-ww, ttbar, w-lepton, min-bias, qcd-lepton, qcd-fake, photon-jet,
    z-ee, z-prime-tautau.

    Or it is a sample of arrays, a row each, for models on coprocessors: hcal-channels, wire-patches, ecal-clusters.
    """
    from tamis.simulate import SAMPLES

    if process in SAMPLES:
        _refuse_options(process)
        _sample(process, events, output, seed, as_json=as_json)
        return
    import awkward as ak

    from tamis.events import open_writer
    from tamis.simulate import Settings, simulate

    settings = Settings(
        pt_hat_gev=pt_hat, mass_gev=mass, mu=mu, com_energy_gev=energy, tune=tune, low_level=low_level
    )
    batches = simulate(process, events, seed=seed, workers=workers, settings=settings)
    start, jets = now_ns(), 0
    with open_writer(output) as writer, progress(f"simulating {process}", events, "events") as advance:
        for batch in batches:
            writer.write(batch)
            jets += int(ak.count(batch["FatJet_pt"]))
            advance(len(batch))
    seconds = (now_ns() - start) / 1e9
    facts = {
        "file": str(output),
        "process": process,
        "events": events,
        "fat_jets": jets,
        "seed": seed,
        "seconds": seconds,
    }
    if as_json:
        print_json(facts)
    else:
        click.echo(f"{output}: {events} {process} events, {jets} fat jets, {events / seconds:.0f} events/s")


def _refuse_options(name: str) -> None:
    """Refuse options that say nothing about a sample."""
    context = click.get_current_context()
    for parameter in context.command.params:
        given = parameter.name and context.get_parameter_source(parameter.name)
        if given is click.core.ParameterSource.COMMANDLINE and parameter.name in OF_COLLISIONS:
            raise UsageError(
                f"{parameter.opts[0]} is of collisions, and {name} is a sample of arrays: leave it away"
            )


def _sample(name: str, rows: int, output: Path, seed: int, *, as_json: bool) -> None:
    """Make a sample of arrays."""
    from tamis.events import open_array_writer
    from tamis.simulate import SAMPLES, simulate_sample

    start, what = now_ns(), SAMPLES[name].rows
    with open_array_writer(output) as writer, progress(f"simulating {name}", rows, what) as advance:
        for arrays in simulate_sample(name, rows, seed=seed):
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
        click.echo(f"{output}: {rows} {what}, {', '.join(shapes)}, {rows / seconds:.0f} {what}/s")
