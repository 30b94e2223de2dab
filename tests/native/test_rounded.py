"""Weights in less room: what is exact stays exact, what is rounded has to pass the gate and decide as before."""

from __future__ import annotations

import numpy as np
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

import tamis
from tamis import TamisError
from tamis.bundle import Bundle, Tolerance, WorkingPoint, pack, write_bundle
from tamis.cli.app import app
from tamis.native import compile_model
from tamis.native.passes import RoundWeights
from tamis.native.program import Contract, Loop, Program
from tamis.native.view import Buffer, Role, View

TERMS, OUTPUTS = 72, 70
RNG = np.random.default_rng(8)
WEIGHTS = (RNG.normal(size=(TERMS, OUTPUTS)) / np.sqrt(TERMS)).astype(np.float32)


def network(weights: np.ndarray):
    """Return a network of one large layer and one small one: the same one whenever it is asked for."""
    rng = np.random.default_rng(8)
    constants = {
        "w": weights, "b": rng.normal(size=OUTPUTS).astype(np.float32), "v": (rng.normal(size=(OUTPUTS, 1)) / 8).astype(np.float32),
    }  # fmt: skip
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["c"]),
        helper.make_node("Tanh", ["c"], ["h"]),
        helper.make_node("MatMul", ["h", "v"], ["score"]),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", TERMS])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N", 1])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def truncated(weights: np.ndarray) -> np.ndarray:
    return (weights.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


def large(program) -> Contract:
    (found,) = [one for one in program.statements if isinstance(one, Contract) and one.weights.size > OUTPUTS]
    return found


@pytest.fixture(scope="module")
def tolerant(tmp_path_factory):
    """Return what makes a bundle that bears so much, with a working point there."""
    folder = tmp_path_factory.mktemp("tolerant")
    plain = pack(network(WEIGHTS), folder / "plain.tamis", score="score").bundle

    def made(relative: float, threshold: float | None = None) -> Bundle:
        signature = plain.manifest.signature
        output = signature.outputs[0].model_copy(
            update={"tolerance": Tolerance(absolute=relative, relative=relative)}
        )
        points = () if threshold is None else (WorkingPoint(name="tight", threshold=threshold),)
        manifest = plain.manifest.model_copy(
            update={
                "signature": signature.model_copy(update={"outputs": (output,)}),
                "working_points": points,
            }
        )
        target = folder / f"{relative}-{threshold}.tamis"
        write_bundle(target, manifest, plain.model_bytes, plain.golden, {})
        return Bundle.open(target)

    return made


@pytest.mark.parametrize(
    "weights",
    [truncated(WEIGHTS), np.rint(WEIGHTS * 300).clip(-127, 127).astype(np.float32)],
    ids=["bf16", "int8"],
)
def test_weights_that_are_small_anyway_are_kept_in_less_room_and_exact(weights, check, case_of) -> None:
    model = network(weights)
    size = np.abs(weights).max() * np.sqrt(
        TERMS
    )  # so that no tanh is at its end, where sums of large numbers cancel
    events = {"x": (np.random.default_rng(1).normal(size=(40, 1, TERMS)) / size).astype(np.float32)}
    check({"small": case_of(model, events)})
    event = {"x": events["x"][0]}
    floats = compile_model(network(WEIGHTS), event).module.constants.size
    assert compile_model(model, event).module.constants.size < floats - weights.size // 3


def test_bfloat16_is_the_nearest(tolerant) -> None:
    event = {"x": np.zeros((1, TERMS), np.float32)}
    found = large(compile_model(network(WEIGHTS), event, precision="bfloat16").narrow).weights[0]
    assert not (found.view(np.uint32) & 0xFFFF).any()
    assert np.abs(found - WEIGHTS).max() <= np.abs(WEIGHTS).max() * 2**-8
    assert (np.abs(found - WEIGHTS) <= np.abs(truncated(WEIGHTS) - WEIGHTS)).all()


def test_whole_numbers_have_a_factor_per_output(tolerant) -> None:
    event = {"x": np.zeros((1, TERMS), np.float32)}
    found = large(compile_model(network(WEIGHTS), event, precision="int8").narrow).weights[0]
    np.testing.assert_array_equal(found, np.rint(found))
    np.testing.assert_array_equal(np.abs(found).max(0), 127)


def test_each_set_of_weights_has_factors_of_its_own() -> None:
    """Several of one size in one loop, too: the gates of a layer read the same input."""
    x = View.whole(Buffer("x", TERMS, Role.INPUT), (1, TERMS))
    outs = [View.whole(Buffer(f"y{i}", OUTPUTS, Role.OUTPUT), (1, OUTPUTS)) for i in range(2)]
    body = tuple(
        Contract(x, 1, WEIGHTS[None] * (i + 1), np.full((1, OUTPUTS), i, np.float32), out)
        for i, out in enumerate(outs)
    )
    rounded = RoundWeights("int8")(Program([x.buffer], [out.buffer for out in outs], {}, [Loop(3, body)]))
    assert len(rounded.constants) == 4
    levels = sorted(
        float(values.min()) for buffer, values in rounded.constants.items() if "bias" in buffer.name
    )
    assert levels == [0.0, 1.0]


@pytest.mark.parametrize(("engine", "off"), [("native-bf16", 0.01), ("native-int8", 0.03)])
def test_a_tolerant_bundle_is_opened_and_rounded(tolerant, engine, off) -> None:
    bundle = tolerant(0.2)
    x = np.random.default_rng(2).normal(size=(50, TERMS)).astype(np.float32)
    with tamis.open(bundle, engine=engine) as rounded, tamis.open(bundle, engine="native") as exact:
        one, other = rounded(x), exact(x)
        assert 0 < np.abs(one - other).max() < off
        np.testing.assert_array_equal(rounded(x[:1]), one[:1])  # whatever the batch


@pytest.mark.parametrize("engine", ["native-bf16", "native-int8"])
def test_a_strict_bundle_is_not(tolerant, engine) -> None:
    with pytest.raises(TamisError, match=rf"engine {engine} does not reproduce the output 'score'"):
        tamis.open(tolerant(1e-6), engine=engine)


def test_a_decision_that_would_flip_keeps_it_closed(tolerant) -> None:
    bundle = tolerant(0.2)
    golden = bundle.golden.outputs["score"].ravel()
    inputs = bundle.golden.inputs["x"]
    with tamis.open(bundle, engine="native-int8") as rounded:
        moved = rounded(inputs).ravel()
    event = int(np.abs(moved - golden).argmax())
    between = float(moved[event] + golden[event]) / 2
    with pytest.raises(TamisError, match=r"flips the decision on [0-9]+ of [0-9]+ golden events .* at the working point 'tight'"):  # fmt: skip
        tamis.open(tolerant(0.2, between), engine="native-int8")


def test_tune_tries_them_where_it_is_asked_to(tolerant, tmp_path) -> None:
    bundle, out = tolerant(0.2), tmp_path / "tuned.tamis"
    for more, there in (([], False), (["--rounded"], True)):
        done = CliRunner().invoke(app, ["tune", str(bundle.path), "-o", str(out), "--batch", "1", *more, "--json"])  # fmt: skip
        assert done.exit_code == 0, done.output
        assert ("native-bf16" in done.output) is there


def test_all_engines_are_those_that_compute_what_they_were_given() -> None:
    from tamis.cli.output import engines_of

    assert "native-bf16" not in engines_of("all")
    assert "native-bf16" in engines_of("all", rounded=True)
