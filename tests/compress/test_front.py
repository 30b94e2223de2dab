"""A front of cheaper models: from dear to cheap, verified, measured against the parent, and drawn."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest

from tamis._base import UsageError
from tamis.bundle import Bundle
from tamis.compress import CompressOptions, DistilOptions, compress_front
from tamis.compress.front import FRONT_FILE, choose_points
from tamis.compress.training import Schedule
from tamis.measure import verify
from tamis.records import FrontRecord
from tamis.report import write_report


@pytest.fixture(scope="module")
def front(tagger, rows_file, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fronts") / "front"
    options = CompressOptions(cost="ebops", epochs=6, batch=128, seed=2, target="accuracy > parent - 3%")
    return folder, compress_front(tagger, folder, [str(rows_file)], options, points=3)


def test_models_become_cheaper_and_each_one_is_verified(front, tagger):
    folder, record = front
    assert 2 <= len(record.points) <= 3
    assert all(one.cost.ebops > other.cost.ebops for one, other in pairwise(record.points))
    assert record.parent_checksum == tagger.manifest.files["model.onnx"].sha256
    for point in record.points:
        bundle = Bundle.open(folder / point.bundle)
        assert bundle.manifest.files["model.onnx"].sha256 == point.checksum
        assert bundle.manifest.parent.model_sha256 == record.parent_checksum
        assert verify(bundle, "onnxruntime").passed
        assert set(point.cost.event_ns) == {"native", "onnxruntime"}
        assert point.cost.weight_bytes < record.parent_cost.weight_bytes
        assert "| operations | " in bundle.card
    assert FrontRecord.model_validate_json((folder / FRONT_FILE).read_text()) == record


def test_the_target_marks_the_points_that_meet_it(front):
    _, record = front
    assert record.quantity == "accuracy"
    for point in record.points:
        figure = point.figures["accuracy"]
        assert point.met == (figure.value > figure.parent - 0.03)


def test_the_page_shows_what_is_lost_against_every_cost(front, tmp_path):
    folder, record = front
    page = write_report([folder / FRONT_FILE], tmp_path / "page").read_text()
    for text in (
        "accuracy lost",
        "operations per event",
        "LUTs (estimate)",
        *(one.bundle for one in record.points),
    ):
        assert text in page
    drawn = {path.name for path in (tmp_path / "page" / "figures").glob("*.png")}
    assert {"front-operations.png", "front-lut.png", "front-time-native.png"} <= drawn


@pytest.mark.slow
def test_multiplications_are_a_cost_as_well(tagger, rows_file, tmp_path):
    options = CompressOptions(cost="macs", epochs=6, batch=128, seed=2)
    record = compress_front(tagger, tmp_path / "front", [str(rows_file)], options, points=3)
    kept = [
        sum(
            layer["weights_kept"]
            for layer in Bundle.open(tmp_path / "front" / one.bundle).manifest.training["compression"][
                "layers"
            ]
        )
        for one in record.points
    ]
    assert kept == sorted(kept, reverse=True)
    assert kept[-1] < 0.06 * 4256


def test_students_of_several_sizes(tagger, rows_of, tmp_path):
    x, _ = rows_of(3000, 5)
    np.savez(tmp_path / "x.npz", x=x)
    options = DistilOptions(metric="score", epochs=3, batch=128, seed=3)
    record = compress_front(tagger, tmp_path / "front", [str(tmp_path / "x.npz")], options, points=3)
    assert record.quantity == "correlation"
    operations = [one.cost.operations for one in record.points]
    assert operations == sorted(operations, reverse=True)
    assert all(one.source.startswith("dense ") for one in record.points)


def test_the_points_are_those_that_no_cheaper_one_equals():
    scored = [
        ("dear", 0.0, 1000),
        ("worse", 0.2, 900),
        ("half", 0.1, 500),
        ("equal", 0.1, 600),
        ("cheap", 0.3, 10),
    ]
    assert choose_points(scored, 5) == ["dear", "half", "cheap"]
    assert choose_points(scored, 2) == ["dear", "cheap"]
    many = [(number, -number, 2.0**number) for number in range(30)]
    assert choose_points(many, 4) == [29, 19, 10, 0]


def test_the_learning_rate_falls_once_at_every_station():
    schedule = Schedule(epochs=14, prune=0.5, stations=4)  # 6 epochs of pruning, then 8
    found = [schedule.station(epoch) for epoch in range(7, 15)]
    assert found == [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1), (3, 0), (3, 1)]
    uneven = [Schedule(epochs=7, stations=3).station(epoch) for epoch in range(1, 8)]
    assert [station for station, _ in uneven] == [0, 0, 0, 1, 1, 2, 2]
    assert [phase for _, phase in uneven] == [0, 0.5, 1, 0, 1, 0, 1]


@pytest.mark.parametrize(
    ("options", "points", "message"),
    [
        (CompressOptions(epochs=5), 3, "needs the cost"),
        (CompressOptions(cost="lut", epochs=2), 3, "at least as many epochs"),
        (CompressOptions(cost="lut"), 1, "expected at least 2"),
        (DistilOptions(metric="score", size=(8,)), 3, "several sizes"),
    ],
)
def test_what_cannot_be_a_front_is_said_before_the_training(
    tagger, rows_file, tmp_path, options, points, message
):
    with pytest.raises(UsageError, match=message):
        compress_front(tagger, tmp_path / "front", [str(rows_file)], options, points=points)
    assert not (tmp_path / "front").exists()


def test_a_folder_with_files_is_left_alone(tagger, rows_file, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UsageError, match="exists already"):
        compress_front(tagger, tmp_path, [str(rows_file)])
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_the_record_has_what_the_training_was_told(front):
    folder, record = front
    options = json.loads((folder / FRONT_FILE).read_text())["options"]
    assert options["points"] == 3
    assert options["epochs"] == 6
    assert record.target == "accuracy > parent - 3%"
