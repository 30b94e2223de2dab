"""`tamis simulate`: simulate collisions, or samples of arrays."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tamis._base import UsageError, now_ns, progress
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
TRACKS = "tracks"


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
    "--process",
    "of_tracks",
    help="Of the sample `tracks`: a process as above (default ttbar), or a gun of muons, pions or electrons: muon, pion, electron.",
)
@click.option("--pt", help="Of a gun: transverse momenta in GeV, such as 0.5:100; uniform in the logarithm.")
@click.option("--particles", type=click.IntRange(1), help="Of a gun: particles in each event; default 10.")
@click.option(
    "--geometry",
    type=click.Path(exists=True, path_type=Path),
    help="Of the sample `tracks`: detectors.csv of ACTS or TrackML; default: the generic detector.",
)
@click.option(
    "--digitisation",
    type=click.Path(exists=True, path_type=Path),
    help="Of the sample `tracks`: JSON file of ACTS' geometric digitisation, which divides the modules of --geometry into cells.",
)
@click.option(
    "--field",
    type=float,
    default=2.0,
    show_default=True,
    help="Of the sample `tracks`, with --geometry: magnetic field along the beam, in tesla.",
)
@click.option(
    "--field-map",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Of the sample `tracks`: map of the solenoid (r, z, Br, Bz) as `tamis solenoid` writes it; default: 2 T everywhere.",
)
@click.option(
    "--with",
    "simulator",
    type=click.Choice(["tamis", "acts"]),
    default="tamis",
    show_default=True,
    help="Of the sample `tracks`: the fast simulation of tamis, or Fatras and the digitisation of ACTS (extra acts), for the same particles.",
)
@click.option(
    "--acts-python",
    help="With --with acts: a Python that can import acts.examples; default: the one that runs tamis.",
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
    of_tracks: str | None,
    pt: str | None,
    particles: int | None,
    geometry: Path | None,
    digitisation: Path | None,
    field: float,
    field_map: Path | None,
    simulator: str,
    acts_python: str | None,
    low_level: bool,
    level1: bool,
    as_json: bool,
) -> None:
    """Simulate PROCESS: generator, detector response and jets, with NanoAOD's column names.

    PROCESS is one of qcd, w-prime, z-prime-tt, graviton-ww, ttbar, w-lepton, min-bias, qcd-lepton, qcd-fake, photon-jet,
    z-ee, z-prime-tautau.

    Or it is a sample of arrays for models on coprocessors (hcal-channels, wire-patches, ecal-clusters) or in Level-1 triggers
    (jets-hlf). With a folder as OUTPUT, its file is NAME-SEED.h5, so that samples with other seeds can be added.

    Or it is tracks: cells of a silicon tracker, for `tamis track`; --process and --mu say of which collisions.
    """
    if process == TRACKS:
        from tamis.cli.simulate_tracks import simulate_track_events
        from tamis.events.detector import DetectorFiles

        _reject_collision_options(process, but=("mu",))
        files = DetectorFiles(geometry, digitisation, field, field_map)
        simulate_track_events(
            of_tracks, pt, particles, mu, events, output, seed, workers, files, simulator, acts_python, as_json=as_json
        )  # fmt: skip
        return
    others = (geometry, digitisation, field_map, acts_python)
    if any(one is not None for one in others) or field != 2.0 or simulator != "tamis":
        raise UsageError(
            f"--geometry, --digitisation, --field, --field-map, --with and --acts-python apply to the sample {TRACKS}, not to {process}: omit them"
        )
    if any(option is not None for option in (of_tracks, pt, particles)):
        raise UsageError(
            f"--process, --pt and --particles apply to the sample {TRACKS}, not to {process}: omit them"
        )
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


def _reject_collision_options(name: str, but: tuple[str, ...] = ()) -> None:
    """Raise `UsageError` for options that apply to collisions only."""
    context = click.get_current_context()
    for parameter in context.command.params:
        source = parameter.name and context.get_parameter_source(parameter.name)
        if (
            source is click.core.ParameterSource.COMMANDLINE
            and parameter.name in COLLISION_OPTIONS
            and parameter.name not in but
        ):
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
