"""Sort records into the sections of a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tamis._base import duration, quantity
from tamis.measure import AnyRecord
from tamis.records import (
    DemoRecord,
    Evaluation,
    FillRecord,
    FrontRecord,
    MonitorComparison,
    MonitorEvaluation,
    PlacementRecord,
    RateRecord,
    Record,
    TrackingRecord,
    TrafficRecord,
    TrainingCurves,
)
from tamis.report.agreement import agreement_picture, agreement_table, flips_table
from tamis.report.content import PageTable, Picture, Row, Section, words
from tamis.report.demo import demo_section
from tamis.report.front import front_section
from tamis.report.latency import latency_pictures, latency_table
from tamis.report.memory import load_picture, load_table, memory_pictures, memory_table
from tamis.report.monitoring import monitor_sections
from tamis.report.physics import baseline_pictures, merit_table, physics_pictures, working_point_table
from tamis.report.placement import placement_sections
from tamis.report.rates import rate_pictures, rate_tables
from tamis.report.tracking import tracking_sections
from tamis.report.traffic import traffic_pictures, traffic_table
from tamis.report.training import training_picture
from tamis.report.trigger import outcomes, run_pictures, run_tables
from tamis.trigger import RunSummary

Records = Sequence[tuple[Path, AnyRecord]]
DatedRecord = (
    Record
    | Evaluation
    | RunSummary
    | RateRecord
    | TrafficRecord
    | DemoRecord
    | FrontRecord
    | TrackingRecord
    | PlacementRecord
    | MonitorEvaluation
    | MonitorComparison
    | FillRecord
)
History = tuple[Mapping[str, float], ...]


@dataclass(frozen=True)
class BenchEntry:
    """A bench record with the suffix of its figures' names, which keeps the figures of several records apart."""

    record: Record
    suffix: str

    @property
    def note(self) -> str:
        """Return the host and time of the measurement."""
        host = self.record.host
        threads = self.record.options.get("threads", 1)
        return f"{host.cpu}, {host.cores} cores, {threads} thread{'s' if threads != 1 else ''}; {self.record.created}"


def sections(records: Records, histories: Mapping[str, History]) -> list[Section]:
    """Return the sections that are not empty."""
    benches = [record for _, record in records if isinstance(record, Record)]
    numbered = [BenchEntry(r, f"-{i}" if i else "") for i, r in enumerate(benches)]
    evaluations = [record for _, record in records if isinstance(record, Evaluation)]
    all_sections = [
        *(demo_section(record) for _, record in records if isinstance(record, DemoRecord)),
        *_fronts([record for _, record in records if isinstance(record, FrontRecord)]),
        *_tracking([record for _, record in records if isinstance(record, TrackingRecord)]),
        *_placements([record for _, record in records if isinstance(record, PlacementRecord)]),
        *monitor_sections(records),
        _rates([record for _, record in records if isinstance(record, RateRecord)]),
        _physics(evaluations),
        _runs([record for _, record in records if isinstance(record, RunSummary)]),
        _service([record for _, record in records if isinstance(record, TrafficRecord)]),
        _latency(numbered),
        _memory(numbered),
        _loading(numbered),
        _agreement(numbered),
        _training(histories),
        _records(records),
    ]
    return [section for section in all_sections if not section.empty]


def _fronts(records: Sequence[FrontRecord]) -> list[Section]:
    suffixes = [f"-{number}" if number else "" for number in range(len(records))]
    return [front_section(record, suffix) for record, suffix in zip(records, suffixes, strict=True)]


def _tracking(records: Sequence[TrackingRecord]) -> list[Section]:
    suffixes = [f"-{number}" if number else "" for number in range(len(records))]
    return [
        section
        for record, suffix in zip(records, suffixes, strict=True)
        for section in tracking_sections(record, suffix)
    ]


def _placements(records: Sequence[PlacementRecord]) -> list[Section]:
    suffixes = [f"-{number}" if number else "" for number in range(len(records))]
    return [
        section
        for record, suffix in zip(records, suffixes, strict=True)
        for section in placement_sections(record, suffix)
    ]


def _suffixes(names: Sequence[str]) -> list[str]:
    """Return suffixes that keep the pictures of records with the same name apart."""
    return [f"-{names[:i].count(name)}" if name in names[:i] else "" for i, name in enumerate(names)]


def _host(record: RunSummary | RateRecord) -> str:
    return f"{record.host.cpu}, {record.host.cores} cores; {record.created}"


def _runs(runs: Sequence[RunSummary]) -> Section:
    suffixes = _suffixes([run.menu for run in runs])
    named = [(run, f"-{run.menu}{suffix}") for run, suffix in zip(runs, suffixes, strict=True)]
    pictures = [picture for run, suffix in named for picture in run_pictures(run, suffix)]
    tables = [
        table
        for run in runs
        for table in run_tables(
            run,
            f"{run.mode} mode, {run.workers} worker{'s' if run.workers > 1 else ''}, {run.wall_ns / 1e9:.1f} s; {_host(run)}",
        )
    ]
    return Section(
        "trigger",
        "Trigger",
        f"Every event has exactly one outcome. {outcomes(runs)}.",
        tuple(pictures),
        tuple(tables),
    )


def _rates(records: Sequence[RateRecord]) -> Section:
    suffixes = _suffixes([record.menu for record in records])
    named = [(record, f"-{record.menu}{suffix}") for record, suffix in zip(records, suffixes, strict=True)]
    pictures = [picture for record, suffix in named for picture in rate_pictures(record, suffix)]
    tables = [
        table
        for record in records
        for table in rate_tables(
            record, "; ".join([*(f"{n}: {c} events" for n, c in record.samples.items()), _host(record)])
        )
    ]
    intro = "Rates of the background samples, weighted by cross-section and normalised to the input rate; errors are statistical, of the simulated events."
    return Section("rates", "Rates", intro, tuple(pictures), tuple(tables))


def _service(records: Sequence[TrafficRecord]) -> Section:
    hosts = dict.fromkeys(f"{record.host.cpu}, {record.host.cores} cores" for record in records)
    intro = "Requests with random inputs to a server. Latency counts from the time at which a request was due; queue and compute are the server's own counters."
    tables = (traffic_table(records, "; ".join(hosts)),) if records else ()
    return Section("service", "Service", intro, tuple(traffic_pictures(records)), tables)


def _latency(records: Sequence[BenchEntry]) -> Section:
    pictures: list[Picture] = []
    tables = []
    for entry in records:
        rows = entry.record.latency
        for bundle in dict.fromkeys(row.bundle for row in rows):
            pictures += latency_pictures(rows, bundle, entry.suffix)
        if rows:
            tables.append(latency_table(rows, _latency_note(entry)))
    intro = "Times of single calls on one host, engines interleaved in shuffled blocks of one run; only engines that reproduce the golden outputs are timed."
    return Section("latency", "Latency", intro, tuple(pictures), tuple(tables))


def _latency_note(entry: BenchEntry) -> str:
    record = entry.record
    notes = [entry.note]
    if record.roofline is not None:
        notes.append(f"peak of one core {record.roofline.flops_per_second / 1e9:.0f} GFLOP/s")
    if record.harness_ns is not None:
        notes.append(f"the harness takes {duration(record.harness_ns)} per call")
    notes += [f"not timed: {sentence}" for sentence in record.refused]
    return "; ".join(notes)


def _memory(records: Sequence[BenchEntry]) -> Section:
    pictures: list[Picture] = []
    tables = []
    for entry in records:
        rows = entry.record.memory
        for bundle in dict.fromkeys(row.bundle for row in rows):
            pictures += memory_pictures(rows, bundle, entry.suffix)
        if rows:
            tables.append(memory_table(rows, entry.note))
    intro = "Each measurement is from a fresh process, because a process keeps memory of all that ran before."
    return Section("memory", "Memory", intro, tuple(pictures), tuple(tables))


def _loading(records: Sequence[BenchEntry]) -> Section:
    loaded = [entry for entry in records if entry.record.load]
    pictures = [load_picture(entry.record.load, entry.suffix) for entry in loaded]
    tables = [load_table(entry.record.load, entry.note) for entry in loaded]
    intro = "From the start of Python to the first score, in fresh processes."
    return Section("loading", "Loading", intro, tuple(pictures), tuple(tables))


def _agreement(records: Sequence[BenchEntry]) -> Section:
    pictures, tables = [], []
    for entry in records:
        agreement = entry.record.agreement
        if not agreement:
            continue
        picture = agreement_picture(agreement, entry.suffix)
        pictures += [picture] if picture else []
        flips = flips_table(agreement, "")
        tables += [agreement_table(agreement, entry.note), *([flips] if flips else [])]
    intro = "Each engine compared with the float64 reference: errors, fraction of matching values, and trigger decisions that change."
    return Section("agreement", "Agreement", intro, tuple(pictures), tuple(tables))


def _physics(evaluations: Sequence[Evaluation]) -> Section:
    pictures: list[Picture] = []
    tables: list[PageTable] = []
    seen: list[str] = []
    for evaluation in evaluations:
        count = seen.count(evaluation.bundle)
        seen.append(evaluation.bundle)
        pictures += physics_pictures(evaluation, f"-{count}" if count else "")
        samples = (evaluation.background, *evaluation.signals)
        note = "; ".join(f"{f.name}: {f.jets} jets of {f.events} events" for f in samples)
        tables.append(
            merit_table(evaluation, f"{note}; scored with {evaluation.engine}; {evaluation.created}")
        )
        points = working_point_table(evaluation)
        tables += [points] if points else []
    samples_drawn = list({repr((e.background, e.signals)): e for e in reversed(evaluations)}.values())[::-1]
    for index, evaluation in enumerate(samples_drawn):
        pictures += baseline_pictures(evaluation, f"-{index}" if index else "")
    intro = "Simulated collisions at 13.6 TeV with a parametric detector; figures are per jet. Errors are bootstrap standard errors. Baselines are single variables of the same jets."
    return Section("physics", "Physics", intro, tuple(pictures), tuple(tables))


def _training(histories: Mapping[str, History]) -> Section:
    drawn = [training_picture(name, history) for name, history in histories.items() if history]
    pictures = tuple(picture for picture in drawn if picture)
    return Section("training", "Training", "Training and validation losses against the epoch.", pictures)


def _records(records: Records) -> Section:
    columns = ("file", "kind", "models", "time (UTC)", "host", "versions", "options")
    rows = [
        Row(tuple(words(cell) for cell in (path.name, record.kind, *_facts(record))))
        for path, record in records
    ]
    tables = (PageTable("Records", columns, tuple(rows)),) if rows else ()
    return Section(
        "records", "Records", "All records of this page, with host, time and versions.", (), tables
    )


def _facts(record: AnyRecord) -> tuple[str, ...]:
    if isinstance(record, TrainingCurves):
        return (record.bundle, "–", "–", "–", f"{len(record.history)} epochs")
    host = record.host
    versions = ", ".join(f"{name} {version}" for name, version in host.versions.items())
    where = (
        f"{host.cpu} ({', '.join(host.instruction_sets)}), {host.cores} cores, "
        f"{host.memory_bytes / 1e9:.1f} GB, {host.system}, Python {host.python}"
    )
    return (_models(record), record.created[:19].replace("T", " "), where, versions, _options(record))


def _models(
    record: DatedRecord,
) -> str:
    if isinstance(record, FrontRecord):
        return ", ".join([record.parent, *(point.bundle for point in record.points)])
    if isinstance(record, TrackingRecord | PlacementRecord | FillRecord):
        return "–"
    if isinstance(record, MonitorComparison):
        return ", ".join(one.name for one in record.monitors)
    if isinstance(record, MonitorEvaluation):
        return record.bundle
    if isinstance(record, RateRecord | DemoRecord):
        return record.menu
    if isinstance(record, TrafficRecord):
        return record.model
    if isinstance(record, RunSummary):
        return ", ".join(f"{m['bundle']} (SHA-256 {m['model_sha256'][:12]}…)" for m in record.models.values())
    models = record.models if isinstance(record, Record) else {record.bundle: record.model_sha256}
    return ", ".join(f"{name} (SHA-256 {digest[:12]}…)" for name, digest in models.items())


def _options(
    record: DatedRecord,
) -> str:
    if isinstance(record, FrontRecord):
        return ", ".join(f"{name} {value}" for name, value in record.options.items() if value is not None)
    if isinstance(record, TrackingRecord):
        return f"{record.source} in the detector {record.detector}, {record.events} events"
    if isinstance(record, PlacementRecord):
        return (
            f"{record.cores} cores, {record.gpus} GPUs, link {record.link.name}, detector {record.detector}"
        )
    if isinstance(record, MonitorEvaluation | MonitorComparison):
        return f"stream {record.stream}, {record.blocks} blocks"
    if isinstance(record, FillRecord):
        return f"{record.name}, {record.blocks} blocks"
    if isinstance(record, DemoRecord):
        return f"budget {record.budget_ms:g} ms, input {quantity(record.input_hz, 'Hz')}"
    if isinstance(record, RunSummary):
        return f"menu {record.menu}, {record.mode} mode, {record.workers} workers"
    if isinstance(record, TrafficRecord):
        scenarios = dict.fromkeys(point.traffic.scenario.value for point in record.points)
        together = f", with {', '.join(record.together)}" if record.together else ""
        return f"{', '.join(scenarios)} on {record.server} {record.server_version}{together}"
    if isinstance(record, RateRecord):
        return f"input {quantity(record.input_hz, 'Hz')}"
    if isinstance(record, Evaluation):
        return f"engine {record.engine}"
    return ", ".join(
        f"{k} {' '.join(map(str, v)) if isinstance(v, list) else v}" for k, v in record.options.items()
    )
