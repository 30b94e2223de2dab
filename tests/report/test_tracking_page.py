"""The page of a track reconstruction: its figures show the curves of the record, its tables the stages and boundaries."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

from tamis._base import host_facts
from tamis.measure import read_records
from tamis.records import (
    Fraction,
    Residual,
    ResidualBin,
    ResidualCurve,
    ResidualHistogram,
    StageBoundary,
    StageTime,
    TrackingCurve,
    TrackingPhysics,
    TrackingRecord,
    write_record,
)
from tamis.report import write_report
from tamis.report.canvas import style
from tamis.report.tracking import tracking_sections

PARAMETERS = (("d0", "mm"), ("z0", "mm"), ("phi", "rad"), ("theta", "rad"), ("q/p", "1/GeV"))


def fraction(passed, total):
    value = passed / total if total else 0.0
    return Fraction(
        passed=passed, total=total, value=value, low=max(value - 0.05, 0), high=min(value + 0.05, 1)
    )


@pytest.fixture
def record():
    edges = {"eta": [-1.0, 0.0, 1.0], "pt": [0.5, 1.0, 2.0], "pile-up": [-0.5, 0.5, 10.5], "radius": [0, 0.1]}
    values = {"efficiency": (95, 100), "fakes": (2, 100), "duplicates": (1, 100)}
    curves = [
        TrackingCurve(
            quantity=quantity, against=against, unit="", edges=ends, bins=[fraction(*value)] * (len(ends) - 1)
        )
        for quantity, value in values.items()
        for against, ends in edges.items()
    ]
    bins = [
        ResidualBin(
            tracks=50, width=0.02 * scale, width_error=0.002, median=0.001, median_error=0.003,
            pull_width=1.05, pull_width_error=0.1, pull_median=0.1, pull_median_error=0.1,
        )
        for scale in (1, 2)
    ]  # fmt: skip
    physics = TrackingPhysics(
        particles="charged", efficiency=fraction(190, 200), fakes=fraction(4, 200), duplicates=fraction(2, 200),
        residuals=[
            Residual(parameter=name, unit=unit, width=0.02, median=0.0, pull_width=1.0, pull_median=0.0)
            for name, unit in PARAMETERS
        ],
        matched=100, sampled=100, curves=curves,
        residual_curves=[
            ResidualCurve(parameter=name, unit=unit, against=against, against_unit="", edges=[0.5, 1, 2], bins=bins)
            for name, unit in PARAMETERS
            for against in ("eta", "pt")
        ],
        histograms=[
            ResidualHistogram(parameter=name, unit=unit, of=of, edges=[-2, -1, 0, 1, 2], counts=[5, 40, 50, 5], outside=3)
            for of in ("residual", "pull")
            for name, unit in PARAMETERS
        ],
    )  # fmt: skip
    stages = [StageTime(stage=name, mean_ms=2.0, p50_ms=1.5, p99_ms=9.0) for name in ("seeding", "finding")]
    boundary = StageBoundary(
        name="seeds", written_by="seeding", read_by=["finding"], count=250.0, bytes=4000.0
    )
    return TrackingRecord(
        created="2025-01-01T00:00:00Z", host=host_facts(), source="tracks.root", detector="generic", events=20, broken=[],
        tracks=200, cells_per_event=1000.0, stages=stages, together=StageTime(stage="together", mean_ms=4.0, p50_ms=3.0, p99_ms=18.0),
        physics=physics, boundaries=[boundary], counters="no counters here",
    )  # fmt: skip


def drawn(record):
    with style():
        sections = tracking_sections(record, "")
    return {picture.name: picture for section in sections for picture in section.pictures}, sections


def test_curves_of_a_variable_are_one_figure_and_one_bin_alone_is_none(record):
    pictures, _ = drawn(record)
    assert {name for name in pictures if name.startswith("tracking-rates")} == {
        "tracking-rates-eta",
        "tracking-rates-pt",
        "tracking-rates-pile-up",
    }
    upper, lower = pictures["tracking-rates-pt"].figure.axes
    (efficiency,) = upper.containers
    assert efficiency.lines[0].get_ydata().tolist() == [95.0, 95.0]
    assert [one.get_label() for one in lower.containers] == ["fakes", "duplicates"]
    assert lower.get_xlabel() == r"$p_\mathrm{T}$ [GeV]"
    assert upper.get_ylim()[0] < 90 < 95 < upper.get_ylim()[1]
    assert "95.00 %" in pictures["tracking-rates-pt"].alt


def test_residuals_are_drawn_in_small_units_with_errors(record):
    pictures, _ = drawn(record)
    panels = pictures["tracking-widths-pt"].figure.axes
    assert [axes.get_ylabel() for axes in panels[:5]] == [
        "$d_0$ width [µm]", "$z_0$ width [µm]", r"$\phi$ width [mrad]", r"$\theta$ width [mrad]", "$q/p$ width [1/TeV]",
    ]  # fmt: skip
    (points,) = panels[0].containers
    assert points.lines[0].get_ydata().tolist() == [20.0, 40.0]
    assert points.has_yerr
    pulls = pictures["tracking-pulls-eta"].figure.axes[0]
    assert [one.get_label() for one in pulls.containers] == ["width", "median"]
    histogram = pictures["tracking-residuals"].figure.axes[0]
    assert histogram.get_xlim() == (-2000, 2000)
    assert any("3 outside" in text.get_text() for text in histogram.texts)


def test_devices_that_did_not_run_are_told_and_a_gpu_has_its_columns(record):
    _, (_, profile) = drawn(record)
    stages, boundaries = profile.tables
    assert [cell.text for cell in stages.rows[0].cells] == [
        "seeding", "2", "1.5", "9", "not run", "not run", "not run", "not available",
    ]  # fmt: skip
    assert "no counters here" in stages.note
    assert [cell.text for cell in boundaries.rows[0].cells][:4] == ["seeds", "seeding", "finding", "250"]
    on_gpu = StageTime(stage="seeding", mean_ms=0.5, p50_ms=0.4, p99_ms=0.8, device="gpu")
    both = record.model_copy(update={"stages": [*record.stages, on_gpu]})
    pictures, (_, profile) = drawn(both)
    assert [cell.text for cell in profile.tables[0].rows[0].cells][4:7] == ["0.5", "0.4", "0.8"]
    assert [cell.text for cell in profile.tables[0].rows[1].cells][4:7] == ["not run"] * 3
    bars = pictures["tracking-times"].figure.axes[0].containers
    assert [bar.get_label() for bar in bars] == ["mean on CPU", "mean on GPU"]


def test_the_page_is_drawn_from_the_record_alone(record, tmp_path):
    curves = [one for one in record.physics.curves if one.against == "eta"]
    few = {"residual_curves": [], "histograms": [], "curves": curves}  # figures take a second each
    record = record.model_copy(update={"physics": record.physics.model_copy(update=few)})
    write_record(record, tmp_path / "tracking.json")
    assert [one for _, one in read_records([tmp_path])] == [record]
    page = write_report([tmp_path / "tracking.json"], tmp_path / "page")
    text = page.read_text(encoding="utf-8")
    assert "Profile of tracking" in text
    assert "95.00 %" in text
    links = re.findall(r'href="(figures/[^"]+)"', text)
    assert links
    assert all((page.parent / link).stat().st_size > 3000 for link in links)


def test_a_file_without_particles_has_times_only(record, tmp_path):
    pictures, sections = drawn(record.model_copy(update={"physics": None}))
    assert set(pictures) == {"tracking-times", "tracking-sizes"}
    assert "has no particles" in sections[0].tables[0].note
