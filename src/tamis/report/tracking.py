"""Sections of a track reconstruction: physics against the simulation, and the profile of the stages."""

from __future__ import annotations

from tamis._base import human_bytes
from tamis.records import Fraction, StageTime, TrackingRecord
from tamis.report.content import Card, Cell, PageTable, Row, Section, number, significant, words
from tamis.report.tracking_figures import profile_pictures, tracking_pictures

DEVICES = ("cpu", "gpu")
SIMULATED = "No GPU ran: the times under GPU are those of Numba's simulator, and say nothing of a GPU."
NOT_RUN, NOT_AVAILABLE = Cell("not run", float("inf")), Cell("not available", float("inf"))


def tracking_sections(record: TrackingRecord, suffix: str) -> list[Section]:
    """Return the physics and the profile of one reconstruction."""
    host = f"{record.host.cpu}, {record.host.cores} cores; {record.created}"
    title = f"{record.source}: " if suffix else ""
    physics = Section(
        f"tracking{suffix}",
        "Tracks",
        f"{title}{record.tracks} tracks of {record.events} events in the detector {record.detector}."
        + (f" {len(record.broken)} events could not be reconstructed." if record.broken else ""),
        tuple(tracking_pictures(record, suffix)),
        tuple(_physics_tables(record)),
        tuple(_cards(record)),
    )
    profile = Section(
        f"tracking-profile{suffix}",
        "Profile of tracking",
        f"{title}where the time goes, and what crosses from stage to stage, per event.",
        tuple(profile_pictures(record, suffix)),
        (
            _stage_table(record, host),
            *([_boundary_table(record)] if record.boundaries else []),
            *([_transfer_table(record)] if record.transfers else []),
        ),
    )
    return [physics, profile]


def _cards(record: TrackingRecord) -> list[Card]:
    cards = []
    if record.physics is not None:
        physics = record.physics
        for title, fraction, text in (
            ("Efficiency", physics.efficiency, f"of particles: {physics.particles}"),
            ("Fakes", physics.fakes, "of tracks: no particle has at least half of the clusters"),
            ("Duplicates", physics.duplicates, "of tracks: the particle has another track"),
        ):
            cards.append(Card(title, f"{100 * fraction.value:.2f} %", f"{_interval(fraction)} {text}"))
    cards.append(
        Card(
            "Time per event",
            f"{significant(record.together.mean_ms)} ms",
            f"on one core; half of the events take less than {significant(record.together.p50_ms)} ms, 99 % less than {significant(record.together.p99_ms)} ms",
        )
    )
    return cards


def _interval(fraction: Fraction) -> str:
    return f"{100 * fraction.low:.2f} to {100 * fraction.high:.2f} % at 95 %; {fraction.passed} of {fraction.total}"


def _physics_tables(record: TrackingRecord) -> list[PageTable]:
    if record.physics is None:
        note = "The file has no particles, so that the tracks cannot be compared with the truth."
        row = Row((words(record.source), number(record.events, "d"), number(record.tracks, "d")))
        return [PageTable("Tracks", ("file", "events", "tracks"), (row,), note)]
    rows = [
        Row(
            (
                words(one.parameter), words(one.unit), Cell(significant(one.width), one.width), Cell(significant(one.median), one.median),
                number(one.pull_width, ".3f"), number(one.pull_median, "+.3f"),
            )
        )
        for one in record.physics.residuals
    ]  # fmt: skip
    columns = ("parameter", "unit", "width", "median", "pull width", "pull median")
    physics = record.physics
    note = f"Widths are half of what holds 68 %, of {physics.sampled} of {physics.matched} matched tracks."
    return [PageTable("Tracks minus particles", columns, tuple(rows), note)]


def _stage_table(record: TrackingRecord, host: str) -> PageTable:
    names = dict.fromkeys(one.stage for one in record.stages)
    times: dict[tuple[str, str], StageTime] = {
        (one.stage, one.device): one for one in (*record.stages, record.together)
    }
    rows = []
    for name in (*names, record.together.stage):
        cells = [words(name)]
        for device in DEVICES:
            cells += _time_cells(times.get((name, device)))
        on_cpu = times.get((name, "cpu"))
        ratio = None if on_cpu is None else on_cpu.instructions_per_clock
        rows.append(Row((*cells, NOT_AVAILABLE if ratio is None else number(ratio, ".2f"))))
    columns = (
        "stage",
        *(f"{device.upper()} {what}" for device in DEVICES for what in ("mean ms", "p50 ms", "p99 ms")),
        "instructions per clock, CPU",
    )
    note = f"{host}." + (f" Instructions per clock: {record.counters}." if record.counters else "")
    if record.simulated_gpu:
        note += f" {SIMULATED}"
    if record.at_once > 1:
        note += f" {record.at_once} events were on the GPU at the same time, so that their times overlap."
    return PageTable("Time per event", columns, tuple(rows), note)


def _time_cells(time: StageTime | None) -> list[Cell]:
    if time is None:
        return [NOT_RUN] * 3
    return [Cell(significant(value), value) for value in (time.mean_ms, time.p50_ms, time.p99_ms)]


def _boundary_table(record: TrackingRecord) -> PageTable:
    rows = [
        Row(
            (
                words(one.name), words(one.written_by or "the input"), words(", ".join(one.read_by) or "the output"),
                Cell(significant(one.count), one.count), Cell(human_bytes(one.bytes), one.bytes),
                number(one.bytes / one.count if one.count else None, ".1f"),
            )
        )
        for one in record.boundaries
    ]  # fmt: skip
    columns = ("objects", "written by", "read by", "per event", "size per event", "bytes per object")
    note = "Sizes are those of the arrays that the stages hand over in this process; a found track has room for the longest way."
    return PageTable("What crosses from stage to stage", columns, tuple(rows), note)


def _transfer_table(record: TrackingRecord) -> PageTable:
    rows = [
        Row(
            (
                words(one.what), words(one.to.upper()), number(one.count, ".3g"), Cell(human_bytes(one.bytes), one.bytes),
                Cell(significant(one.mean_ms), one.mean_ms),
                NOT_AVAILABLE if one.link_ms is None else Cell(significant(one.link_ms), one.link_ms),
            )
        )
        for one in record.transfers
    ]  # fmt: skip
    columns = ("copied", "to", "copies per event", "size per event", "ms per event", "ms of the link")
    note = "The time of the link is that of the copies between pinned memory and the GPU, by events of the GPU; the other one also holds the copies within the host."
    if record.simulated_gpu:
        note += f" {SIMULATED}"
    return PageTable("Copies between CPU and GPU", columns, tuple(rows), note)
