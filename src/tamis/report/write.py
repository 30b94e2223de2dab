"""Write the report: one HTML page and figures from records."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from tamis._base import DataError, progress, require, write_text
from tamis.bundle import Bundle
from tamis.measure import read_records
from tamis.records import (
    DemoRecord,
    Evaluation,
    FrontRecord,
    PlacementRecord,
    RateRecord,
    Record,
    TrackingRecord,
    TrafficRecord,
    TrainingCurves,
)
from tamis.trigger import RunSummary

if TYPE_CHECKING:
    from tamis.report.content import Picture, Section
    from tamis.report.sections import History

PAGE, FIGURES, HISTORY = "index.html", "figures", "training.json"
DRAWN_RECORDS = "a bench record, an evaluation, a run, rates, loads on a server, a front, tracks, placements or loss curves"
DATED = (
    Record, Evaluation, RunSummary, RateRecord, TrafficRecord, DemoRecord, FrontRecord, TrackingRecord, PlacementRecord,
)  # fmt: skip


@dataclass(frozen=True)
class Drawn:
    """A picture in the page: its file and its inline SVG."""

    picture: Picture
    file: str
    svg: str


def write_report(places: Sequence[Path], output: Path, *, bundles: Sequence[Bundle] = ()) -> Path:
    """Draw all records at some places into `output`: index.html, and every figure as PNG and PDF; return the page's path."""
    found = read_records([Path(place) for place in places])
    records = list({path.resolve(): (path, record) for path, record in found}.values())  # places may overlap
    histories = _histories([record for _, record in records], bundles)
    if not records and not histories:
        named = ", ".join(map(str, places)) or "no place"
        raise DataError(
            f"nothing to report: {named} holds no record ({DRAWN_RECORDS}); `tamis bench ... -o records/` writes one"
        )
    from tamis.report.canvas import save, style
    from tamis.report.sections import sections

    with style():
        page_sections = sections(records, histories)
        pictures = [(section, picture) for section in page_sections for picture in section.pictures]
        drawn: dict[str, list[Drawn]] = {section.name: [] for section in page_sections}
        with progress("drawing", len(pictures), "figures") as advance:
            for section, picture in pictures:
                name = re.sub(r"[^A-Za-z0-9_+-]+", "_", picture.name)
                saved = save(picture.figure, Path(output) / FIGURES, name)
                drawn[section.name].append(Drawn(picture, f"{FIGURES}/{name}", saved))
                advance(1)
    models = sorted(
        {p.model for _, p in pictures if p.model}
        | {r.model for s in page_sections for t in s.tables for r in t.rows if r.model}
    )
    page = Path(output) / PAGE
    write_text(page, _render(page_sections, drawn, models, [record for _, record in records]))
    return page


def _histories(records: Sequence[object], bundles: Sequence[Bundle]) -> dict[str, History]:
    """Return the loss curves by model, from records and from bundles; bundles take precedence."""
    histories: dict[str, History] = {}
    for record in records:
        if isinstance(record, TrainingCurves):
            histories.setdefault(record.bundle, record.history)
    for bundle in bundles:
        if HISTORY in bundle.manifest.files:
            try:
                curves = TrainingCurves(bundle=bundle.name, history=json.loads(bundle.text(HISTORY)))
            except ValueError as error:
                raise DataError(
                    f"{bundle.path / HISTORY} holds no loss curves: a list of numbers by name, one entry per epoch"
                ) from error
            histories[bundle.name] = curves.history
    return histories


def _render(
    page_sections: Sequence[Section],
    drawn: dict[str, list[Drawn]],
    models: Sequence[str],
    records: Sequence[object],
) -> str:
    jinja2 = require("jinja2", extra="plot", purpose="writing reports")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(
        files("tamis.report").joinpath("page.html.j2").read_text(encoding="utf-8")
    )
    dated = [record.created for record in records if isinstance(record, DATED)]
    hosts = sorted({record.host.cpu for record in records if isinstance(record, DATED)})
    text = template.render(
        title="tamis demo" if any(isinstance(record, DemoRecord) for record in records) else "tamis report",
        sections=page_sections,
        drawn=drawn,
        models=models,
        records=len(records),
        newest=max(dated, default=""),
        hosts=hosts,
    )
    return str(text)
