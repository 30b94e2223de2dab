"""`tamis demo`: from simulated collisions to decisions, scores, times and a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tamis._base import UsageError, VerificationError, file_stamp, now_ns, progress
from tamis.cli.demo_trigger import DEMO_MENU, print_trigger, run_shipped, trigger_summary
from tamis.cli.output import engines_of, json_option, print_json, print_table, say

if TYPE_CHECKING:
    from tamis.bundle import Bundle
    from tamis.records import DemoRecord, Evaluation, Record
    from tamis.trigger import ScoringFacts

SIGNAL, SIGNAL_MASS_GEV = "z-prime-tt", 1200.0
BUDGET_MS = 100.0
MOST_ANOMALOUS = 8


@dataclass(frozen=True)
class Simulated:
    """One simulated sample."""

    process: str
    file: Path
    events: int
    seconds: float


@click.command(name="demo", epilog="Example: tamis demo -o demo/")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("demo"),
    show_default=True,
    help="Output folder.",
)
@click.option(
    "--events", type=click.IntRange(50), default=300, show_default=True, help="Number of QCD events."
)
@click.option(
    "--seed", type=click.IntRange(0), default=1, show_default=True, help="Of the simulated collisions."
)
@click.option("--engine", default="onnxruntime", show_default=True, help="The engine that runs the models.")
@click.option(
    "--bundle",
    "bundles",
    multiple=True,
    default=("conv-vae", "graph-vae"),
    show_default=True,
    help="Anomaly detector; may be repeated.",
)
@json_option
def command(
    output: Path, events: int, seed: int, engine: str, bundles: tuple[str, ...], as_json: bool
) -> None:
    """Simulate collisions, run the shipped trigger menu on them, score them with the shipped detectors, write a report."""
    from tamis.bundle import Bundle
    from tamis.engines import find_engine
    from tamis.measure.demo import demo_record
    from tamis.report import write_report
    from tamis.trigger import load_menu

    opened = [Bundle.open(name) for name in bundles]
    _check(opened, find_engine(engine).computes, engine)
    step = say if as_json else lambda text: click.secho(f"\n{text}", bold=True)
    step(f"Simulating {events} QCD and {_signal_events(events)} {SIGNAL} events")
    samples = [
        _simulate("qcd", events, seed, output, None),
        _simulate(SIGNAL, _signal_events(events), seed + 1, output, SIGNAL_MASS_GEV),
    ]
    step(f"Verifying {engine} against the float64 reference")
    _verify(opened, engine, as_json)
    step("Running the shipped trigger menu, one event at a time")
    summary, rates, decided = run_shipped({s.process: s.file for s in samples}, output)
    if not as_json:
        print_trigger(summary, rates)
    step("Scoring the two leading jets of each event")
    facts = {bundle.name: _score(bundle, engine, samples, output) for bundle in opened}
    processes = [sample.process for sample in samples]
    anomalous = {b.name: _most_anomalous(b, list(zip(processes, facts[b.name], strict=True))) for b in opened}
    times = _times(samples, facts)
    if not as_json:
        _print_events(anomalous)
        columns = ("step", "ms per event", f"of the {BUDGET_MS:.0f} ms HLT budget")
        rows = [
            (name, f"{ms:.3f}", "-" if name == "simulation" else f"{100 * ms / BUDGET_MS:.2f} %")
            for name, ms in times.items()
        ]
        print_table("time per event, one core", columns, rows)
    step("Measuring the detectors: separation of signal and background, and speed")
    evaluations = _evaluate(opened, engine, samples, seed)
    measured = list(zip(opened, evaluations, strict=True))
    story = demo_record(
        load_menu(DEMO_MENU).menu, summary, rates, output / "trigger", measured, budget_ms=BUDGET_MS
    )
    records = _write(story, evaluations, _time_engines(opened, engine), output / "records")
    page = write_report([*decided, *records], output, bundles=opened)
    if as_json:
        print_json(
            {
                "page": str(page),
                "trigger": trigger_summary(summary, rates),
                "times_ms": times,
                "most_anomalous": anomalous,
            }
        )
    else:
        click.echo(f"Report: {page.resolve().as_uri()}")


def _check(bundles: Sequence[Bundle], computes: bool, engine: str) -> None:
    """Raise UsageError for wrong options before the simulation starts."""
    if not computes:
        raise UsageError(f"the engine {engine} does no work; use onnxruntime, openvino, torch or reference")
    names = [bundle.name for bundle in bundles]
    if len(set(names)) < len(names):
        raise UsageError(
            f"the bundles {', '.join(names)} have the same name, so their scores would be written to the same file"
        )
    scoreless = next((bundle.name for bundle in bundles if bundle.manifest.score is None), None)
    if scoreless is not None:
        raise UsageError(f"the bundle {scoreless} has no score; pack it with --score")


def _signal_events(events: int) -> int:
    return max(20, events // 3)


def _simulate(process: str, events: int, seed: int, output: Path, mass_gev: float | None) -> Simulated:
    from tamis.events import open_writer
    from tamis.simulate import SimulationSettings, simulate

    file, start = output / f"{process}.root", now_ns()
    batches = simulate(
        process, events, seed=seed, settings=SimulationSettings(mass_gev=mass_gev, low_level=True)
    )
    with open_writer(file) as writer, progress(f"simulating {process}", events, "events") as advance:
        for batch in batches:
            writer.write(batch)
            advance(len(batch))
    return Simulated(process, file, events, (now_ns() - start) / 1e9)


def _verify(bundles: Sequence[Bundle], engine: str, quiet: bool) -> None:
    from tamis.measure import verify

    agreements = [verify(bundle, engine) for bundle in bundles]
    failed = next((a for a in agreements if not a.passed), None)
    if failed is not None:
        raise VerificationError(f"{engine} does not reproduce {failed.bundle}: {failed.problem}")
    rows = [
        (
            a.bundle,
            f"{a.engine} {a.version}",
            a.events,
            f"{max(o.largest_relative for o in a.outputs):.1e}",
            sum(f.flips for f in a.flips) if a.flips else "-",
            "passed",
        )
        for a in agreements
    ]
    if not quiet:
        columns = ("detector", "engine", "golden jets", "largest relative error", "decision flips", "gate")
        print_table("verification", columns, rows)


def _score(bundle: Bundle, engine: str, samples: Sequence[Simulated], output: Path) -> list[ScoringFacts]:
    """Score each sample into a separate file, since the samples use the same event numbers."""
    from tamis.engines import open as open_session
    from tamis.trigger import score_files

    with open_session(bundle, engine) as session:
        return [
            score_files(session, [str(s.file)], output / f"scores-{bundle.name}-{s.process}.parquet")
            for s in samples
        ]


def _most_anomalous(bundle: Bundle, scored: Sequence[tuple[str, ScoringFacts]]) -> list[dict[str, Any]]:
    """Return the jets with the highest scores, with the process that generated them."""
    import pyarrow.parquet as pq

    score = str(bundle.manifest.score)
    rows = [
        {**row, "process": process}
        for process, facts in scored
        for row in pq.read_table(facts.output).sort_by([(score, "descending")])[:MOST_ANOMALOUS].to_pylist()
    ]
    rows.sort(key=lambda row: -row[score])
    return [
        {
            **{key: row[key] for key in ("run", "luminosityBlock", "event", "jet", "process")},
            "score": row[score],
            "pt_gev": row["FatJet_pt"],
            "mass_gev": row["FatJet_mass"],
        }
        for row in rows[:MOST_ANOMALOUS]
    ]


def _times(samples: Sequence[Simulated], facts: dict[str, list[ScoringFacts]]) -> dict[str, float]:
    """Return the time of each step in milliseconds per event."""
    events = sum(sample.events for sample in samples)
    first = next(iter(facts.values()))
    times = {
        "simulation": 1e3 * sum(s.seconds for s in samples) / events,
        "features": sum(f.feature_ns for f in first) / 1e6 / events,
    }
    return times | {
        f"scoring, {name}": sum(f.score_ns for f in scored) / 1e6 / events for name, scored in facts.items()
    }


def _print_events(anomalous: dict[str, list[dict[str, Any]]]) -> None:
    for name, rows in anomalous.items():
        cells = [
            (
                f"{r['run']}:{r['luminosityBlock']}:{r['event']}",
                r["jet"],
                f"{r['score']:.3f}",
                f"{r['pt_gev']:.0f}",
                f"{r['mass_gev']:.0f}",
                r["process"],
            )
            for r in rows
        ]
        columns = ("run:lumi:event", "jet", "score", "pT GeV", "mass GeV", "generated process")
        print_table(f"most anomalous jets for {name}", columns, cells)


def _evaluate(
    bundles: Sequence[Bundle], engine: str, samples: Sequence[Simulated], seed: int
) -> list[Evaluation]:
    """Measure how well the detectors separate the samples."""
    from tamis.measure import evaluate_bundle

    background, *signals = samples
    named = {signal.process: [str(signal.file)] for signal in signals}
    return [
        evaluate_bundle(bundle, [str(background.file)], named, engine=engine, seed=seed) for bundle in bundles
    ]


def _time_engines(bundles: Sequence[Bundle], engine: str) -> Record:
    """Time the detectors on every engine of this host."""
    from tamis.measure import Bench, TimingPlan, run_bench

    engines = tuple(dict.fromkeys((engine, *(n for n in engines_of("all") if n != "reference"))))
    plan = TimingPlan(rounds=7, block_ns=8_000_000, budget_ns=1_500_000_000, least_rounds=3)
    return run_bench(bundles, Bench(engines=engines, batches=(1, 64), plan=plan, cold=False, load=False))


def _write(story: DemoRecord, evaluations: Sequence[Evaluation], times: Record, folder: Path) -> list[Path]:
    """Write the records; return their paths."""
    from tamis.records import write_record

    named: list[tuple[str, DemoRecord | Evaluation | Record]] = [
        ("demo", story),
        ("bench", times),
        *((f"evaluation-{evaluation.bundle}", evaluation) for evaluation in evaluations),
    ]
    return [
        write_record(record, folder / f"{name}-{file_stamp(record.created)}.json") for name, record in named
    ]
