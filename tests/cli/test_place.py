"""`tamis place`: from records of track reconstructions to placements, record and page, and the messages for missing and wrong input."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("simpy", reason="simpy is not installed")

from tamis._base import host_facts
from tamis.records import PlacementRecord, StageBoundary, StageTime, TrackingRecord

CPU_MS = {"clusters": 4.0, "space points": 1.0, "seeding": 25.0, "parameters": 1.0, "finding": 90.0, "ambiguity": 2.0, "fit": 15.0}  # fmt: skip
READERS = {
    None: ["clusters"], "clusters": ["space points", "parameters", "finding", "fit"], "space points": ["seeding", "parameters"],
    "seeding": ["parameters", "finding"], "parameters": ["finding"], "finding": ["ambiguity", "fit"], "ambiguity": ["fit"], "fit": [],
}  # fmt: skip
GPU_TIMES = """
source: a guess for this test
times:
  clusters + space points: {0: 0.5, 200: 0.8}
  seeding: {0: 0.3, 200: 1.7}
  parameters: {0: 0.3, 200: 0.3}
  finding: {0: 2.0, 200: 9.0}
  ambiguity + fit: {0: 2.0, 200: 4.0}
"""


def tracking_record(collisions: float, **changes) -> TrackingRecord:
    scale = max(collisions, 2) / 100
    times = {
        name: {"mean_ms": scale * ms, "p50_ms": 0.9 * scale * ms, "p99_ms": 2 * scale * ms}
        for name, ms in CPU_MS.items()
    }
    fields = {
        "created": "2026-11-30T00:00:00Z", "host": host_facts(), "source": f"ttbar-{collisions:g}.root", "detector": "generic", "events": 10,
        "broken": [], "tracks": 100, "cells_per_event": 240_000 * scale, "pile_up": collisions,
        "stages": [StageTime(stage=name, **values) for name, values in times.items()],
        "together": StageTime(stage="together", mean_ms=138 * scale, p50_ms=138 * scale, p99_ms=200 * scale),
        "boundaries": [
            StageBoundary(name=f"of {name}", written_by=name, read_by=readers, count=1, bytes=2e6 * scale) for name, readers in READERS.items()
        ],
        "events_per_second": 6.0 / scale,
    }  # fmt: skip
    return TrackingRecord(**fields | changes)


@pytest.fixture
def records(tmp_path):
    folder = tmp_path / "records"
    folder.mkdir()
    for pile_up in (0, 60, 100):
        text = tracking_record(pile_up).model_dump_json()
        (folder / f"{pile_up}.json").write_text(text)
    (folder / "other.json").write_text("{}")
    return folder


@pytest.fixture
def gpu_times(tmp_path):
    path = tmp_path / "gpu.yaml"
    path.write_text(GPU_TIMES)
    return path


def test_placements_are_printed_with_knee_and_purchase(call, records):
    times = [f"--gpu-time={name}={value}" for name, value in (
        ("clusters", 0.3), ("space points", 0.1), ("seeding", 1), ("parameters", 0.1), ("finding", 6), ("ambiguity + fit", 3),
    )]  # fmt: skip
    code, out, err = call(
        "place", records / "100.json", *times, "--link", "pcie5", "--rate", "1kHz", "--core-price", 50, "--gpu-price", 9000
    )  # fmt: skip
    assert (code, err) == (0, "")
    for text in (
        "the best of 64 placements",
        "G G G G C C",
        "knee of",
        "to buy for 1000 events/s at 80 % load, the cheapest first",
        "not measured by tamis: --gpu-time",
        "simulated: saturated",
        "pcie5: 63 GB/s",
    ):
        assert text in out


def test_json_has_every_placement_of_every_size(call, records, gpu_times):
    code, out, _ = call("place", records, "--gpu-times", gpu_times, "--cores", 16, "--events", 300, "--json")
    assert code == 0
    record = PlacementRecord.model_validate(json.loads(out))
    assert [study.pile_up for study in record.studies] == [0, 60, 100]
    assert [len(study.placements) for study in record.studies] == [
        32, 32, 32,  # clusters and space points move together
    ]  # fmt: skip
    assert record.studies[0].placements[0].stages == "C C C C C"
    assert "G" in record.studies[2].placements[0].stages
    for study in record.studies:
        for one in study.simulated:
            assert one.saturated_events_per_second == pytest.approx(one.formula_events_per_second, rel=0.15)


def test_folder_has_record_page_and_figures(call, records, gpu_times, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    from tamis.report.canvas import style
    from tamis.report.placement import placement_sections

    out = tmp_path / "placement"
    arguments = ("place", records / "60.json", "--gpu-times", gpu_times, "--simulate", 0, "-o", out)
    assert call(*arguments)[0] == 0
    page = (out / "index.html").read_text()
    record = PlacementRecord.model_validate_json((out / "placement.json").read_text())
    (study,) = record.studies
    assert "a guess for this test" in page
    assert study.placements[0].stages in page
    with style():
        (section,) = placement_sections(record)
        figures = {picture.name: picture.figure.axes[0] for picture in section.pictures}
    plane = figures["placement-plane"]
    drawn = sum(len(line.get_xdata()) for line in plane.lines if line.get_label().startswith("limited"))
    assert drawn == 32
    assert plane.get_xlabel() == "latency of an event [ms]"
    (front,) = [line for line in plane.lines if line.get_label() == "front"]
    assert len(front.get_xdata()) == sum(one.on_front for one in study.placements)
    cores = figures["placement-cores"]
    assert any(line.get_label().startswith("knee: ") for line in cores.lines)
    bars = figures["placement-times"].patches
    assert max(bar.get_x() + bar.get_width() for bar in bars) == pytest.approx(
        max(one.latency_ms for one in study.placements if one.stages == "C C C C C")
    )
    code, _, err = call(*arguments)
    assert code == 2
    assert "never overwritten" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{folder}/none",), "there are no records at"),
        (("{folder}/empty",), "no record of a track reconstruction"),
        (("{records}",), "no GPU time is known of any stage (clusters"),
        (("{records}", "--gpu-time", "seeding=1", "--link", "pcie55"), "no link is called 'pcie55'"),
        (("{records}", "--gpu-time", "seedling=1"), "did you mean"),
        (("{records}", "--gpu-time", "seeding"), "STAGE=MS"),
        (("{records}", "--gpu-times", "{folder}/none.yaml"), "cannot be read as a file of GPU times"),
        (("{records}", "--published"), "368478 cells"),
        (("{records}", "--gpu-time", "seeding=1", "--rate", "fast"), "is not a rate"),
        (("{records}", "--gpu-time", "seeding=1", "--core-price", "5"), "--gpu-price"),
    ],
)  # fmt: skip
def test_wrong_input_is_told_in_a_sentence(call, records, tmp_path, arguments, message):
    (tmp_path / "empty").mkdir()
    code, _, err = call("place", *(one.format(folder=tmp_path, records=records) for one in arguments))
    assert code not in (0, 70)
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_times_by_pile_up_do_not_reach_beyond_what_is_given(call, tmp_path, gpu_times):
    path = tmp_path / "large.json"
    path.write_text(tracking_record(300).model_dump_json())
    code, _, err = call("place", path, "--gpu-times", gpu_times)
    assert code not in (0, 70)
    assert "pile-ups from 0 to 200" in err
    path.write_text(tracking_record(100, pile_up=None).model_dump_json())
    code, _, err = call("place", path, "--gpu-times", gpu_times)
    assert code not in (0, 70)
    assert "Pileup_nPU" in err


def test_help_has_an_example(call):
    code, out, _ = call("place", "--help")
    assert code == 0
    assert "tamis place records/ --cores 16 --gpus 1" in " ".join(out.split())
