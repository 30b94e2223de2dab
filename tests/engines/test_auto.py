"""The engine `auto`: follows the bundle's plan for this host; without a plan it uses ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest

import tamis
from tamis._base import host_facts
from tamis.bundle import Bundle, add_texts, pack
from tamis.engines import fingerprint, plan_name
from tamis.records import EnginePlan, EngineTime
from tamis.tuning import choose_engines


def measured(batch: int, engine: str, warm: float, chunk: int | None = None) -> EngineTime:
    return EngineTime(batch=batch, engine=engine, warm_ns=warm, noise=0.001, chunk=chunk)


def planned(tmp_path, rows, **changes) -> Bundle:
    bundle = Bundle.open("facile")
    plan = choose_engines(bundle, rows).model_copy(update=changes)
    return add_texts(bundle, {plan_name(): plan.model_dump_json()}, tmp_path / "facile.tamis")


ROWS = [
    measured(1, "openvino", 1.0), measured(1, "onnxruntime", 2.0),
    measured(64, "openvino", 9.0), measured(64, "onnxruntime", 5.0, 16),
]  # fmt: skip


@pytest.fixture
def events() -> np.ndarray:
    golden = Bundle.open("facile").golden.inputs["channels"]
    return np.tile(golden, (4, 1))[:100].copy()


def score_with(name: str, events: np.ndarray, **options) -> np.ndarray:
    with tamis.open("facile", name, **options) as session:
        return session(events)


def test_without_a_plan_auto_uses_onnxruntime_and_explains_it(events):
    with tamis.open("facile") as session:
        assert session.engine.name == "auto"
        assert "has no plan for this host" in session.explanation
        np.testing.assert_array_equal(session(events), score_with("onnxruntime", events))


def test_each_batch_size_runs_on_the_planned_engine(tmp_path, events):
    pytest.importorskip("openvino")
    with tamis.open(planned(tmp_path, ROWS)) as session:
        assert session.verified
        assert session.explanation.splitlines()[0].startswith("1: openvino: ")
        assert session.explanation.splitlines()[1].startswith("64: onnxruntime: ")
        for count in (1, 2, 7):
            np.testing.assert_array_equal(session(events[:count]), score_with("openvino", events[:count]))
        for count in (9, 64, 100):
            np.testing.assert_array_equal(
                session(events[:count]), score_with("onnxruntime", events[:count], chunk=16)
            )
        call = session.bind(events)
        np.testing.assert_array_equal(call()[0], session(events))


def test_sizes_in_the_plan_are_compiled_and_the_callers_win(tmp_path, parse_model):
    graph = """sum (float[N, P, 3] x) => (float[N, 3] y) {
        axes = Constant <value_ints = [1]> ()
        y = ReduceSum <keepdims = 0> (x, axes)
    }"""
    bundle = pack(parse_model(graph), tmp_path / "summed.tamis", dims={"P": 5}).bundle
    plan = choose_engines(bundle, [measured(1, "native", 1.0)], dims={"P": (4, 200)})
    tuned = add_texts(bundle, {plan_name(): plan.model_dump_json()}, tmp_path / "tuned.tamis")
    with tamis.open(tuned) as session:
        assert "than P 1 to 128, 200 on onnxruntime" in session.explanation
        assert session.computed_by.startswith("native ")
        assert " and onnxruntime " in session.computed_by
    with tamis.open(tuned, dims={"P": (300,)}) as session:
        assert "than P 1 to 128, 300 on onnxruntime" in session.explanation


def test_a_plan_for_another_host_or_model_is_ignored(tmp_path, events):
    other = host_facts().model_copy(update={"cpu": "another"})
    assert fingerprint(other) != fingerprint()
    bundle = Bundle.open("facile")
    plan = choose_engines(bundle, ROWS)
    elsewhere = add_texts(bundle, {plan_name(other): plan.model_dump_json()}, tmp_path / "elsewhere.tamis")
    with tamis.open(elsewhere) as session:
        assert f"for other hosts ({plan_name(other)})" in session.explanation
        np.testing.assert_array_equal(session(events), score_with("onnxruntime", events))
    with tamis.open(planned(tmp_path, ROWS, model="0" * 64)) as session:
        assert "has no plan" in session.explanation


def test_an_engine_that_cannot_be_opened_is_replaced_by_the_next_fastest(tmp_path, events):
    pytest.importorskip("openvino")
    rows = [measured(1, "nowhere", 1.0), measured(1, "openvino", 2.0), measured(1, "onnxruntime", 3.0)]
    with tamis.open(planned(tmp_path, rows)) as session:
        assert session.explanation.startswith("1: openvino, since nowhere cannot be opened here")
        np.testing.assert_array_equal(session(events), score_with("openvino", events))


def test_a_plan_with_a_wrong_checksum_is_rejected(tmp_path):
    bundle = planned(tmp_path, ROWS)
    path = bundle.path / plan_name()
    path.write_text(path.read_text().replace("openvino", "torch"))
    with pytest.raises(tamis.TamisError, match="checksum"):
        tamis.open(bundle.path)


def test_a_plan_stores_its_measurements(tmp_path):
    bundle = planned(tmp_path, ROWS)
    plan = EnginePlan.model_validate_json(bundle.text(plan_name()))
    assert [entry.engine for entry in plan.ranked(64)] == ["onnxruntime", "openvino"]
    assert plan.host.cpu == host_facts().cpu


def test_computed_by_names_engines_and_versions(tmp_path):
    pytest.importorskip("openvino")
    with tamis.open("facile", "onnxruntime") as session:
        alone = session.computed_by
    assert alone.startswith("onnxruntime 1.")
    with tamis.open("facile") as session:
        assert session.computed_by == alone
    with tamis.open(planned(tmp_path, ROWS)) as session:
        first, second = session.computed_by.split(" and ")
        assert first.startswith("openvino ")
        assert second == alone
