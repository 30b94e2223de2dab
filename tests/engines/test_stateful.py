"""Sessions with a state: a stream goes on where it was, on every engine, and streams do not mix."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tamis._base import InputMismatchError, UnreadableFileError, UsageError
from tamis.bundle import Bundle, pack
from tamis.engines import StatefulSession
from tamis.engines import open as open_session

ENGINES = ["onnxruntime", "native", "reference"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """An Elman network of width 3 with an output."""
    rng = np.random.default_rng(1)
    weights = [
        numpy_helper.from_array((0.7 * rng.normal(size=shape)).astype(np.float32), name)
        for name, shape in (("w", (2, 3)), ("r", (3, 3)), ("o", (3, 1)))
    ]
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["xw"]),
        helper.make_node("MatMul", ["h", "r"], ["hr"]),
        helper.make_node("Add", ["xw", "hr"], ["sum"]),
        helper.make_node("Tanh", ["sum"], ["next_h"]),
        helper.make_node("MatMul", ["next_h", "o"], ["score"]),
    ]

    def value(name, columns):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", columns])

    graph = helper.make_graph(
        nodes, "elman", [value("x", 2), value("h", 3)], [value("score", 1), value("next_h", 3)], weights
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    target = tmp_path_factory.mktemp("bundles") / "elman.tamis"
    return pack(model, target, score="score").bundle


def steps(count, seed=2):
    return np.random.default_rng(seed).normal(size=(count, 2)).astype(np.float32)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_stream_goes_on_after_it_was_saved(bundle, engine, tmp_path):
    x = steps(1000)
    whole = StatefulSession(open_session(bundle, engine)).steps("a", x=x)["score"]
    first = StatefulSession(open_session(bundle, engine))
    begin = first.steps("a", x=x[:400])["score"]
    first.save(tmp_path / "states.safetensors")
    second = StatefulSession(open_session(bundle, engine))
    second.restore(tmp_path / "states.safetensors")
    rest = second.steps("a", x=x[400:])["score"]
    assert np.array_equal(np.concatenate([begin, rest]), whole)
    assert len(np.unique(whole)) > 900


@pytest.mark.parametrize("engine", ENGINES)
def test_streams_do_not_mix(bundle, engine):
    a, b = steps(50, 3), steps(50, 4)
    alone = [StatefulSession(open_session(bundle, engine)).steps("only", x=x)["score"] for x in (a, b)]
    session = StatefulSession(open_session(bundle, engine))
    taken = [(session.run(["a"], x=a[k : k + 1]), session.run([7], x=b[k : k + 1])) for k in range(50)]
    assert np.array_equal([one["score"][0] for one, _ in taken], alone[0])
    assert np.array_equal([one["score"][0] for _, one in taken], alone[1])
    together = StatefulSession(open_session(bundle, engine))
    order = [("a", "b") if k % 3 else ("b", "a") for k in range(50)]
    found = {"a": [], "b": []}
    for k, streams in enumerate(order):
        rows = {"a": a[k], "b": b[k]}
        scores = together.run(streams, x=np.stack([rows[one] for one in streams]))["score"]
        for stream, score in zip(streams, scores, strict=True):
            found[stream].append(score)
    for stream, expected in zip("ab", alone, strict=True):
        np.testing.assert_allclose(found[stream], expected, atol=1e-6)


def test_a_stream_can_begin_anew_and_go_back(bundle):
    session, x = StatefulSession(open_session(bundle, "onnxruntime")), steps(10)
    first = session.steps("a", x=x)["score"]
    kept = session.state("a")
    after = session.steps("a", x=x)["score"]
    session.set_state("a", kept)
    assert np.array_equal(session.steps("a", x=x)["score"], after)
    assert not np.array_equal(first, after)
    session.reset("a")
    assert session.streams == []
    assert np.array_equal(session.steps("a", x=x)["score"], first)


def test_a_step_that_is_not_a_number_leaves_the_state(bundle):
    session, x = StatefulSession(open_session(bundle, "native")), steps(3)
    x[1, 0] = np.nan
    scores = session.steps("a", x=x)["score"]
    assert np.isnan(scores[1, 0])
    other = StatefulSession(open_session(bundle, "native")).steps("a", x=x[[0, 2]])["score"]
    assert np.array_equal(scores[[0, 2]], other)
    both = StatefulSession(open_session(bundle, "native"))
    assert np.isnan(both.run(["a", "b"], x=x[:2])["score"]).ravel().tolist() == [False, True]
    assert not both.state("b")["h"].any()
    assert both.state("a")["h"].all()


def test_mistakes_are_explained(bundle, tmp_path):
    with pytest.raises(UsageError, match="has no state"):
        StatefulSession(open_session(Bundle.open("jet-tagger"), "onnxruntime"))
    session = StatefulSession(open_session(bundle, "onnxruntime"))
    with pytest.raises(UsageError, match="each stream once"):
        session.run(["a", "a"], x=steps(2))
    with pytest.raises(InputMismatchError, match="takes x; got y"):
        session.run(["a"], y=steps(1))
    with pytest.raises(InputMismatchError, match=r"shape \(2, 2\)"):
        session.run(["a"], x=steps(2))
    with pytest.raises(InputMismatchError, match=r"expected \(3,\)"):
        session.set_state("a", {"h": np.zeros(2)})
    with pytest.raises(InputMismatchError, match="got nothing"):
        session.set_state("a", {})
    session.run([("a", 1)], x=steps(1))
    with pytest.raises(UsageError, match="text or integers"):
        session.save(tmp_path / "states.safetensors")
    (tmp_path / "other.safetensors").write_bytes(b"no")
    with pytest.raises(UnreadableFileError, match="holds no states"):
        session.restore(tmp_path / "other.safetensors")
    with pytest.raises(UsageError, match="differ in shape"):
        StatefulSession(open_session(bundle, "onnxruntime"), {"x": "next_h"})
