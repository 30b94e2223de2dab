"""From a bundle and rows to a student: an ordinary bundle that imitates its parent, reproducible, and honest about what it loses."""

from __future__ import annotations

import json

import numpy as np
import pytest

import tamis
from tamis._base import DataError, TargetNotMetError, UsageError
from tamis.compress import CompressOptions, DistilOptions, compress, distil
from tamis.measure import verify


def run(parent, rows_file, path, **options):
    options = {"epochs": 12, "batch": 64, "seed": 3, "size": (32, 16), "metric": "log-score"} | options
    return distil(parent, path, [str(rows_file)], DistilOptions(**options))


@pytest.fixture(scope="module")
def unlabelled(rows_of, tmp_path_factory):
    path = tmp_path_factory.mktemp("rows") / "x.npz"
    x, _ = rows_of(6000, 5)
    np.savez(path, x=x)
    return path


@pytest.fixture(scope="module")
def distilled(tagger, unlabelled, tmp_path_factory):
    return run(tagger, unlabelled, tmp_path_factory.mktemp("student") / "student.tamis", metric="score")


def test_a_student_is_a_verified_bundle_with_the_inputs_of_its_parent(tagger, distilled):
    bundle = distilled.bundle
    assert bundle.manifest.parent.model_sha256 == tagger.manifest.files["model.onnx"].sha256
    assert bundle.manifest.signature.inputs == tagger.manifest.signature.inputs
    assert [spec.name for spec in bundle.manifest.signature.outputs] == ["score"]
    for engine in ("onnxruntime", "native", "torch", "reference"):
        assert verify(bundle, engine).passed


def test_it_predicts_the_score_of_its_parent(tagger, distilled, rows_of):
    x, _ = rows_of(2000, 99)
    with tamis.open(distilled.bundle, "onnxruntime") as student, tamis.open(tagger, "onnxruntime") as parent:
        found, expected = student.run(x=x)["score"], parent.run(x=x)["score"]
    measured = np.corrcoef(found, expected)[0, 1]
    assert measured > 0.8
    figure = distilled.figures["correlation"]
    assert figure.low - 0.03 < measured < figure.high + 0.03


def test_its_working_points_accept_as_much_as_those_of_the_parent(tagger, distilled, rows_of):
    x, _ = rows_of(5000, 98)
    with tamis.open(distilled.bundle, "onnxruntime") as student, tamis.open(tagger, "onnxruntime") as parent:
        found, expected = student.run(x=x)["score"], parent.run(x=x)["score"]
    assert [point.name for point in distilled.bundle.manifest.working_points] == [
        "background-0.1",
        "background-0.01",
    ]
    for own, other in zip(
        distilled.bundle.manifest.working_points, tagger.manifest.working_points, strict=True
    ):
        assert abs((found > own.threshold).mean() - (expected > other.threshold).mean()) < 0.03
        flips = distilled.figures[f"flips({own.name})"]
        differ = ((found > own.threshold) != (expected > other.threshold)).mean()
        assert flips.low - 0.02 < differ < flips.high + 0.02


def test_signals_are_judged_next_to_the_parent_and_never_trained_on(tagger, rows_file, tmp_path):
    made = run(tagger, rows_file, tmp_path / "student.tamis", epochs=2)
    figures = made.figures
    assert [name for name in figures if name.startswith("auc")] == [
        "auc(q)", "auc(W)", "auc(Z)", "auc(t)",
    ]  # fmt: skip
    assert all(figure.low <= figure.value <= figure.high for figure in figures.values())
    with np.load(rows_file) as file:
        background, signals = int((file["label"] == 0).sum()), int((file["label"] != 0).sum())
    facts = json.loads(made.bundle.text("distillation.json"))
    assert facts["test_rows"] == pytest.approx(signals + 0.15 * background, abs=1)
    with tamis.open(tagger, "onnxruntime") as parent, np.load(rows_file) as file:
        score, label = parent.run(x=file["x"])["score"], file["label"]
    pairs = score[label == 2][:, None] > score[label == 0]
    assert figures["auc(W)"].parent == pytest.approx(pairs.mean(), abs=0.05)


def test_the_card_compares_costs_and_names_what_is_lost(distilled):
    card = distilled.bundle.card
    for text in (
        "A dense student that predicts the parent's score of the bundle toy",
        "| multiplications | 4256 | 1040 | |",  # 16 x 64 + 64 x 32 + 32 x 32 + 32 x 5, and 16 x 32 + 32 x 16 + 16
        "**Where it loses:**",
        "flips(background-0.01)",
        "correlation(ranks)",
        "| 32,16 |",
    ):
        assert text in card


def test_the_same_seed_gives_the_same_student_also_when_resumed(tagger, unlabelled, tmp_path):
    whole = run(tagger, unlabelled, tmp_path / "whole.tamis", epochs=4, outliers=0.2, size=(8,))

    class StoppedError(Exception):
        pass

    def stop(row):
        if row["epoch"] == 2:
            raise StoppedError

    options = DistilOptions(
        metric="log-score", size=(8,), epochs=4, batch=64, seed=3, outliers=0.2, resume=True
    )
    with pytest.raises(StoppedError):
        distil(tagger, tmp_path / "b.tamis", [str(unlabelled)], options, after_epoch=stop)
    resumed = distil(tagger, tmp_path / "b.tamis", [str(unlabelled)], options)
    assert resumed.bundle.model.graph.initializer == whole.bundle.model.graph.initializer
    assert resumed.figures == whole.figures
    other = run(tagger, unlabelled, tmp_path / "other.tamis", epochs=4, outliers=0.2, size=(8,), seed=4)
    assert other.bundle.model.graph.initializer != whole.bundle.model.graph.initializer


def test_a_metric_is_a_function_in_a_file(tagger, unlabelled, tmp_path):
    metric = tmp_path / "margin.py"
    metric.write_text(
        "def margin(inputs, outputs):\n"
        "    assert inputs['x'].shape[1] == 16\n"
        "    return outputs['probabilities'][:, 4] - outputs['probabilities'][:, 0]\n"
    )
    made = run(tagger, unlabelled, tmp_path / "student.tamis", metric=f"{metric}:margin", epochs=8)
    assert made.figures["correlation"].value > 0.7
    assert made.bundle.manifest.description.endswith("predicts the metric margin")
    assert str(tmp_path) not in made.bundle.text("distillation.json")
    share = made.bundle.manifest.working_points[0].background_efficiency
    assert share == pytest.approx(0.1, abs=0.005)


def test_without_a_size_cheap_ones_are_searched_and_the_worse_half_leaves_early(
    bundle_of, tmp_path, monkeypatch
):
    monkeypatch.setattr("tamis.compress.distillation.run.OPERATIONS_MAX", 30.0)
    x = np.random.default_rng(0).normal(size=(1000, 12)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    options = DistilOptions(epochs=4, batch=128)
    parent = bundle_of("dense")
    made = distil(parent, tmp_path / "s.tamis", [str(tmp_path / "x.npz")], options)
    epochs = [one.epochs for one in made.found.tried]
    assert len(epochs) > 2
    assert (min(epochs), max(epochs)) == (1, 4)
    assert made.found.size.size in [one.size.size for one in made.found.tried if one.epochs == 4]
    assert all(one.size.operations <= 30 * parent.manifest.cost.flops for one in made.found.tried)


def test_a_student_can_be_quantised(distilled, unlabelled, tmp_path):
    options = CompressOptions(weights=8, activations=8, inputs=10, epochs=0)
    made = compress(distilled.bundle, tmp_path / "small.tamis", [str(unlabelled)], options)
    assert made.figures["error"].value < 0.2
    assert made.bundle.manifest.parent.name == "student"
    assert verify(made.bundle, "native").passed


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"metric": "loss"},
            UsageError,
            "nothing to distil that is called 'loss'; expected score, log-score",
        ),
        ({"metric": "no.py:f"}, UsageError, "there is no file no.py"),
        (
            {"student": "conv", "size": (4, 8)},
            UsageError,
            r"one input with the shape \(N, particles, features\)",
        ),
        ({"target": "auc > 0.9"}, UsageError, "'auc > 0.9' needs labels"),
        ({"target": "flips(tight) < 1%"}, UsageError, "which is not measured"),
        (
            {"target": "correlation > 99.9%", "epochs": 1},
            TargetNotMetError,
            "does not meet the target correlation > 99.9%, so no bundle was written; it has correlation",
        ),
    ],
)
def test_errors_say_what_to_do_and_write_nothing(tagger, unlabelled, tmp_path, options, error, message):
    with pytest.raises(error, match=message):
        run(tagger, unlabelled, tmp_path / "student.tamis", **options)
    assert not (tmp_path / "student.tamis").exists()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return inputs['y'][:, 0]", "fails with KeyError: 'y'; its inputs are x (4200, 16)"),
        ("return inputs['x']", "returns an array of shape (4200, 16) for 4200 rows"),
    ],
)
def test_a_wrong_metric_is_named(tagger, unlabelled, tmp_path, body, message):
    (tmp_path / "m.py").write_text(f"def metric(inputs, outputs):\n    {body}\n")
    with pytest.raises(UsageError) as caught:
        run(tagger, unlabelled, tmp_path / "s.tamis", metric=f"{tmp_path / 'm.py'}:metric")
    assert message in str(caught.value)
    with pytest.raises(UsageError, match="has no function 'other'; it has metric"):
        run(tagger, unlabelled, tmp_path / "s.tamis", metric=f"{tmp_path / 'm.py'}:other")


def test_a_constant_metric_teaches_nothing(tagger, unlabelled, tmp_path):
    (tmp_path / "m.py").write_text("def metric(inputs, outputs):\n    return 0 * inputs['x'][:, 0] + 3\n")
    with pytest.raises(DataError, match="is 3 for every row of toy: there is nothing to learn"):
        run(tagger, unlabelled, tmp_path / "s.tamis", metric=f"{tmp_path / 'm.py'}:metric")


def test_a_working_point_with_few_rows_is_left_out_with_a_reason(tagger, rows_file, tmp_path):
    made = run(tagger, rows_file, tmp_path / "s.tamis", epochs=1)
    assert [point.name for point in made.bundle.manifest.working_points] == ["background-0.1"]
    reason = "orking point background-0.01 is left out: the parent accepts "
    assert reason in made.packed.notes[-1]
    assert reason in made.bundle.card
