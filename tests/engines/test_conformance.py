"""The conformance suite of engines. A new engine is included by its entry point; nothing here names one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import tamis
from tamis._base import InputMismatchError, UsageError
from tamis.bundle import BATCH, draw_inputs, free_sizes
from tamis.engines import find_engine, out_of_tolerance
from tamis.measure import verify

BATCHED = ("dense", "conv1d", "particle-net", "deep-jet", "attention", "image", "embedding", "old-opset")


@pytest.fixture
def events_of():
    """Return a function that draws events for a bundle."""

    def draw(bundle, count, seed=3):
        signature = bundle.manifest.signature
        sizes = free_sizes(signature, {}, count)
        if signature.rows == "fixed":
            sizes[BATCH] = count
        return draw_inputs(signature, sizes, np.random.default_rng(seed))

    return draw


def assert_same(found, expected, bound):
    """Assert that outputs agree within a bound relative to the largest value of each."""
    assert list(found) == list(expected)
    for name, value in found.items():
        assert value.shape == expected[name].shape
        if value.dtype.kind == "f":
            scale = max(float(np.abs(expected[name]).max(initial=0.0)), 1e-30)
            assert np.abs(value - expected[name]).max(initial=0.0) <= bound * scale
        else:
            np.testing.assert_array_equal(value, expected[name])


def test_engine_reproduces_the_float64_reference(bundle_of, engine_name, model_name):
    found = verify(bundle_of(model_name), engine_name)
    assert found.passed, found.problem
    assert found.outputs
    assert all(output.out_of_tolerance == 0 for output in found.outputs)


def test_outputs_have_the_declared_names_types_and_shapes(bundle_of, engine_name, model_name):
    bundle = bundle_of(model_name)
    with tamis.open(bundle, engine_name) as session:
        found = session.run(**bundle.golden.inputs)
    assert list(found) == [spec.name for spec in bundle.manifest.signature.outputs]
    for spec in bundle.manifest.signature.outputs:
        assert found[spec.name].dtype == spec.dtype
        assert found[spec.name].shape == bundle.golden.outputs[spec.name].shape


@pytest.mark.parametrize("name", BATCHED)
def test_the_score_of_an_event_does_not_depend_on_its_batch(bundle_of, engine_name, events_of, name):
    bundle, bound = bundle_of(name), find_engine(engine_name).batch_bound
    count = 1025 if name in ("dense", "conv1d") else 37
    events = events_of(bundle, count)
    with tamis.open(bundle, engine_name) as whole, tamis.open(bundle, engine_name, chunk=16) as chunked:
        together = whole.run(**events)
        assert_same(chunked.run(**events), together, bound)
        for size in (1, 3, 16, 17):
            part = whole.run(**{k: v[:size] for k, v in events.items()})
            assert_same(part, {k: v[:size] for k, v in together.items()}, bound)


@pytest.mark.parametrize("name", [*BATCHED, "fixed-batch"])
def test_zero_events_give_empty_outputs(bundle_of, engine_name, name):
    bundle = bundle_of(name)
    golden, outputs = bundle.golden, bundle.manifest.signature.outputs
    with tamis.open(bundle, engine_name) as session:
        none = {k: v[:0] for k, v in golden.inputs.items()}
        bound = dict(zip([spec.name for spec in outputs], session.bind(**none)(), strict=True))
        for found in (session.run(**none), bound):
            for spec in outputs:
                assert found[spec.name].shape == (0, *golden.outputs[spec.name].shape[1:])
                assert found[spec.name].dtype == spec.dtype


@pytest.mark.parametrize("chunk", [None, 5])
def test_bound_buffers_give_the_same_outputs_after_they_are_refilled(
    bundle_of, engine_name, model_name, chunk
):
    bundle = bundle_of(model_name)
    golden = {name: array.copy(order="C") for name, array in bundle.golden.inputs.items()}
    buffers = {name: np.zeros_like(array) for name, array in golden.items()}
    with tamis.open(bundle, engine_name, chunk=chunk) as session:
        expected = session.run(**golden)
        call = session.bind(**buffers)
        call()
        for name, array in golden.items():
            buffers[name][...] = array
        found = dict(zip(expected, [np.array(value) for value in call()], strict=True))
    assert_same(found, expected, find_engine(engine_name).batch_bound)


@pytest.mark.parametrize(
    "array",
    [np.zeros((12, 4), np.float32).T, np.zeros(4 * 12 * 4 + 1, np.uint8)[1:].view(np.float32).reshape(4, 12)],
    ids=["transposed", "unaligned"],
)
def test_binding_a_buffer_that_would_be_copied_is_rejected(bundle_of, engine_name, array):
    with (
        tamis.open(bundle_of("dense"), engine_name) as session,
        pytest.raises(InputMismatchError, match="contiguous and aligned"),
    ):
        session.bind(array)


def test_the_memory_layout_of_an_input_does_not_matter(bundle_of, engine_name, events_of):
    bundle = bundle_of("conv1d")
    x = events_of(bundle, 9)["x"]
    locked = x.copy()
    locked.flags.writeable = False
    strided = np.repeat(x, 2, axis=2)[:, :, ::2]
    unaligned = np.frombuffer(b"\0" + x.tobytes(), np.uint8)[1:].view(np.float32).reshape(x.shape)
    assert not unaligned.flags.aligned
    with tamis.open(bundle, engine_name) as session:
        expected = session.run(x)
        for other in (np.asfortranarray(x), strided, locked, x[::-1][::-1], unaligned):
            assert_same(session.run(other), expected, 0.0)
        assert_same(session.run(x=x), expected, 0.0)
        np.testing.assert_array_equal(session.run(x)["score"], expected["score"])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda x: x.astype(np.float64), r"'x' is float64, the model takes float32.*astype"),
        (lambda x: x.astype(">f4"), r"'x' is >f4, the model takes float32"),
        (lambda x: x.astype(np.int32), "'x' is int32"),
        (lambda x: x[:, :11], "dimension 1 is 11, expected 12"),
        (lambda x: x[0], "2 dimensions, not 1"),
        (lambda x: x.tolist(), "is a list; pass a numpy array"),
        (lambda x: np.ma.masked_array(x, x > 0), "MaskedArray.*fill masked values first"),
    ],
)
def test_a_wrong_array_is_rejected_with_advice(bundle_of, engine_name, events_of, wrong, message):
    bundle = bundle_of("dense")
    x = events_of(bundle, 5)["x"]
    with tamis.open(bundle, engine_name) as session:
        for call in (session, session.run, session.bind):
            with pytest.raises(InputMismatchError, match=message):
                call(wrong(x))
        session(x)  # the session is still usable


def test_wrong_names_and_counts_of_arrays_are_rejected(bundle_of, engine_name, events_of):
    bundle = bundle_of("deep-jet")
    events = events_of(bundle, 4)
    with tamis.open(bundle, engine_name) as session:
        with pytest.raises(InputMismatchError, match=r"got 2 arrays.*takes 3"):
            session.run(*list(events.values())[:2])
        renamed = {("sw" if name == "sv" else name): value for name, value in events.items()}
        with pytest.raises(InputMismatchError, match="no input 'sw'; did you mean 'sv'"):
            session.run(**renamed)
        shorter = events | {"sv": events["sv"][:3]}
        with pytest.raises(InputMismatchError, match="holds 3 events, the inputs before it hold 4"):
            session.run(**shorter)
        positional = list(events.values())
        with pytest.raises(InputMismatchError, match="is missing"):
            session.run(positional[0], positional[1], **{"/glob/x": positional[0]})


@pytest.mark.parametrize("name", ["dense", "conv1d", "particle-net", "deep-jet", "attention", "fixed-batch"])
def test_nan_propagates_within_its_event_only(bundle_of, engine_name, events_of, name):
    bundle = bundle_of(name)
    events = events_of(bundle, 6)
    for spec in bundle.manifest.signature.inputs:
        with_nan = {k: v.copy() for k, v in events.items()}
        with_nan[spec.name].reshape(6, -1)[2, -1] = np.nan
        with tamis.open(bundle, engine_name) as session:
            clean, found = session.run(**events), session.run(**with_nan)
        others = np.arange(6) != 2
        for output in found:
            assert np.isnan(found[output][2]).all()
            np.testing.assert_array_equal(found[output][others], clean[output][others])


def test_large_values_and_infinities_are_not_taken_for_nan(bundle_of, engine_name, events_of):
    bundle = bundle_of("dense")
    x = events_of(bundle, 4)["x"]
    x[1] *= 1e30
    x[2, 0] = np.inf
    with tamis.open(bundle, engine_name) as session:
        clean = session(x[[0, 3]])
        found = session(x)
    np.testing.assert_allclose(found[[0, 3]], clean, rtol=1e-5)
    assert not np.isnan(found[1]).any()


def test_threads_can_share_one_session(bundle_of, engine_name, events_of):
    bundle = bundle_of("conv1d")
    batches = [events_of(bundle, 1 + seed, seed)["x"] for seed in range(8)]
    with tamis.open(bundle, engine_name, chunk=4) as session:
        alone = [session.run(x) for x in batches]
        with ThreadPoolExecutor(8) as pool:
            for _ in range(5):
                for found, expected in zip(pool.map(session.run, batches), alone, strict=True):
                    assert_same(found, expected, 0.0)


def test_the_next_call_does_not_overwrite_a_result(bundle_of, engine_name, events_of):
    bundle = bundle_of("dense")
    with tamis.open(bundle, engine_name) as session:
        first = session(events_of(bundle, 4, 1)["x"])
        copy = first.copy()
        session(events_of(bundle, 4, 2)["x"])
        np.testing.assert_array_equal(first, copy)
        x = events_of(bundle, 4, 1)["x"]
        before = x.copy()
        session(x)
        np.testing.assert_array_equal(x, before)


def test_a_closed_session_raises_and_the_bundle_can_be_opened_again(bundle_of, engine_name):
    bundle = bundle_of("dense")
    x = bundle.golden.inputs["x"]
    session = tamis.open(bundle, engine_name)
    expected = session(x)
    session.close()
    session.close()
    for call in (session, session.run, session.bind):
        with pytest.raises(UsageError, match=r"closed; open the bundle again"):
            call(x)
    with tamis.open(bundle, engine_name) as again:
        np.testing.assert_array_equal(again(x), expected)


def test_a_model_with_a_fixed_batch_takes_any_number_of_events(bundle_of, engine_name, events_of):
    bundle = bundle_of("fixed-batch")
    events = events_of(bundle, 5)
    with tamis.open(bundle, engine_name) as session:
        together = session.run(**events)
        alone = [session.run(events["x"][i : i + 1])["score"] for i in range(5)]
    np.testing.assert_array_equal(together["score"], np.concatenate(alone))


def test_a_model_without_a_batch_dimension_is_called_once(bundle_of, engine_name):
    bundle = bundle_of("no-batch")
    assert bundle.manifest.signature.rows == "none"
    x = np.ones((6, 3), np.float32)
    with tamis.open(bundle, engine_name) as session:
        single, double = session(x, np.array(1.0, np.float32)), session(x, np.array(2.0, np.float32))
        assert single.shape == ()
        np.testing.assert_allclose(double, 2 * single, rtol=1e-6)
        x[0, 0] = np.nan
        assert np.isnan(session(x, np.array(1.0, np.float32)))


def test_threads_do_not_change_the_outputs_beyond_tolerance(bundle_of, engine_name):
    bundle = bundle_of("conv1d")
    spec = bundle.manifest.signature.output("score")
    with tamis.open(bundle, engine_name, threads=2) as session:
        found = session.run(**bundle.golden.inputs)["score"]
    assert not out_of_tolerance(found, bundle.golden.outputs["score"], spec.tolerance).any()
    with pytest.raises(UsageError, match="threads is 0"):
        tamis.open(bundle, engine_name, threads=0)
    with pytest.raises(UsageError, match="chunk is -1"):
        tamis.open(bundle, engine_name, chunk=-1)


def test_engine_reports_its_version(engine_name):
    assert find_engine(engine_name).version()
