"""Events of different numbers of particles in one call."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import numpy_helper

import tamis
from tamis._base import InputMismatchError, UsageError
from tamis.bundle import pack

TAGGER = """tagger (float[N, particles, 3] x, float[N, 2, particles] points, float[N, 4] jet) => (float[N, 5] score, float[N, particles, 3] weights) {
    h = MatMul (x, w)
    far = ReduceSum <keepdims = 1> (points, one)
    column = Transpose <perm = [0, 2, 1]> (far)
    g = Add (h, column)
    weights = Softmax <axis = 1> (g)
    mean = ReduceMean <axes = [1], keepdims = 0> (weights)
    both = Concat <axis = 1> (mean, jet)
    score = MatMul (both, v)
}"""


@pytest.fixture(scope="module")
def tagger(tmp_path_factory, parse_model):
    model = parse_model(TAGGER, w=(3, 3), v=(7, 5))
    model.graph.initializer.append(numpy_helper.from_array(np.array([1]), "one"))
    return pack(model, tmp_path_factory.mktemp("ragged") / "tagger.tamis", dims={"particles": 9}).bundle


def drawn(sizes):
    rng = np.random.default_rng(2)
    total = sum(sizes)
    return {
        "offsets": np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]),
        "x": rng.normal(size=(total, 3)).astype(np.float32),
        "points": rng.normal(size=(2, total)).astype(np.float32),
        "jet": rng.normal(size=(len(sizes), 4)).astype(np.float32),
    }


@pytest.mark.parametrize("engine", ["native", "onnxruntime"])
def test_each_event_is_as_if_it_were_alone(tagger, engine):
    sizes = [3, 1, 17, 3, 128, 40, 3, 1, 130]
    events = drawn(sizes)
    with tamis.open(tagger, engine) as session:
        found = session.run_ragged(**events)
        for number, (begin, end) in enumerate(zip(events["offsets"], events["offsets"][1:], strict=False)):
            alone = session.run(
                x=events["x"][None, begin:end],
                points=np.ascontiguousarray(events["points"][None, :, begin:end]),
                jet=events["jet"][number : number + 1],
            )
            exact = np.testing.assert_array_equal if engine == "native" else np.testing.assert_allclose
            exact(
                found["score"][number : number + 1],
                alone["score"],
                **({} if engine == "native" else {"rtol": 1e-5}),
            )
            np.testing.assert_allclose(found["weights"][begin:end], alone["weights"][0], rtol=1e-5)
    assert found["score"].shape == (len(sizes), 5)
    assert found["weights"].shape == (sum(sizes), 3)


def test_events_without_particles_have_no_score(tagger):
    with tamis.open(tagger, "native") as session:
        found = session.run_ragged(**drawn([2, 0, 5]))
        assert np.isnan(found["score"]).all(axis=1).tolist() == [False, True, False]
        assert found["weights"].shape == (7, 3)
        assert not np.isnan(found["weights"]).any()
        none = session.run_ragged(**drawn([]))
        assert none["score"].shape == (0, 5)


def test_wrong_ragged_batches_are_refused(tagger, bundle_of):
    events = drawn([2, 5])
    with tamis.open(tagger, "native") as session:
        for change, message in (
            ({"offsets": np.array([0, 2, 6])}, r"'x' has the shape \(7, 3\) .* expected \(6, 3\)"),
            ({"offsets": np.array([1, 2, 7])}, "must begin with 0"),
            ({"offsets": np.array([0, 9, 7])}, "never fall"),
            ({"offsets": np.array([0.0, 2.0, 7.0])}, "expected integers"),
            ({"offsets": {"tracks": np.array([0, 7])}}, "offsets are those of tracks; expected particles"),
            ({"x": events["x"].astype(np.float64)}, "type float64; expected"),
            ({"jet": events["jet"][:1]}, r"'jet' has the shape \(1, 4\)"),
        ):
            with pytest.raises(InputMismatchError, match=message):
                session.run_ragged(**{**events, **change})
        with pytest.raises(InputMismatchError, match="got the inputs x; expected"):
            session.run_ragged(events["offsets"], x=events["x"])
    with (
        tamis.open(bundle_of("dense")) as session,
        pytest.raises(UsageError, match="a free dimension within an event"),
    ):
        session.run_ragged(np.array([0, 1]), x=np.zeros((1, 12), np.float32))
