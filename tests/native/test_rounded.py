"""Weights of 8 and 16 bits: exact if the weights are, else rounded, if the golden outputs and decisions allow it."""

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
    """Return a network of a large and a small layer, the same one in every call."""
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
    (contract,) = [
        one for one in program.statements if isinstance(one, Contract) and one.weights.size > OUTPUTS
    ]
    return contract


@pytest.fixture(scope="module")
def tolerant(tmp_path_factory):
    """Return a function that packs a bundle with a tolerance and a working point."""
    folder = tmp_path_factory.mktemp("tolerant")
    plain = pack(network(WEIGHTS), folder / "plain.tamis", score="score").bundle

    def packed(relative: float, threshold: float | None = None) -> Bundle:
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

    return packed


@pytest.mark.parametrize(
    "weights",
    [truncated(WEIGHTS), np.rint(WEIGHTS * 300).clip(-127, 127).astype(np.float32)],
    ids=["bf16", "int8"],
)
def test_weights_that_are_exact_in_fewer_bits_are_stored_so(weights, check, case_of) -> None:
    model = network(weights)
    size = np.abs(weights).max() * np.sqrt(TERMS)  # no tanh saturates, where large sums would cancel
    events = {"x": (np.random.default_rng(1).normal(size=(40, 1, TERMS)) / size).astype(np.float32)}
    check({"small": case_of(model, events)})
    event = {"x": events["x"][0]}
    floats = compile_model(network(WEIGHTS), event).module.constants.size
    assert compile_model(model, event).module.constants.size < floats - weights.size // 3


def test_bfloat16_rounds_to_nearest(tolerant) -> None:
    event = {"x": np.zeros((1, TERMS), np.float32)}
    found = large(compile_model(network(WEIGHTS), event, precision="bfloat16").narrow).weights[0]
    assert not (found.view(np.uint32) & 0xFFFF).any()
    assert np.abs(found - WEIGHTS).max() <= np.abs(WEIGHTS).max() * 2**-8
    assert (np.abs(found - WEIGHTS) <= np.abs(truncated(WEIGHTS) - WEIGHTS)).all()


def test_int8_has_a_scale_per_output(tolerant) -> None:
    event = {"x": np.zeros((1, TERMS), np.float32)}
    found = large(compile_model(network(WEIGHTS), event, precision="int8").narrow).weights[0]
    np.testing.assert_array_equal(found, np.rint(found))
    np.testing.assert_array_equal(np.abs(found).max(0), 127)


def test_each_contraction_has_its_own_scales() -> None:
    """Also in a loop, where the gates of a layer read the same input."""
    x = View.whole(Buffer("x", TERMS, Role.INPUT), (1, TERMS))
    outs = [View.whole(Buffer(f"y{i}", OUTPUTS, Role.OUTPUT), (1, OUTPUTS)) for i in range(2)]
    body = tuple(
        Contract(x, 1, WEIGHTS[None] * (i + 1), np.full((1, OUTPUTS), i, np.float32), out)
        for i, out in enumerate(outs)
    )
    rounded = RoundWeights("int8")(Program([x.buffer], [out.buffer for out in outs], {}, [Loop(3, body)]))
    assert len(rounded.constants) == 4
    biases = sorted(
        float(values.min()) for buffer, values in rounded.constants.items() if "bias" in buffer.name
    )
    assert biases == [0.0, 1.0]


@pytest.mark.parametrize(("engine", "off"), [("native-bf16", 0.01), ("native-int8", 0.03)])
def test_tolerant_bundle_is_opened_and_rounded(tolerant, engine, off) -> None:
    bundle = tolerant(0.2)
    x = np.random.default_rng(2).normal(size=(50, TERMS)).astype(np.float32)
    with tamis.open(bundle, engine=engine) as rounded, tamis.open(bundle, engine="native") as exact:
        one, other = rounded(x), exact(x)
        assert 0 < np.abs(one - other).max() < off
        np.testing.assert_array_equal(rounded(x[:1]), one[:1])  # in any batch


@pytest.mark.parametrize("engine", ["native-bf16", "native-int8"])
def test_strict_bundle_is_not_opened_rounded(tolerant, engine) -> None:
    with pytest.raises(TamisError, match=rf"engine {engine} does not reproduce the output 'score'"):
        tamis.open(tolerant(1e-6), engine=engine)


def test_bundle_with_a_flipped_decision_is_not_opened_rounded(tolerant) -> None:
    bundle = tolerant(0.2)
    golden = bundle.golden.outputs["score"].ravel()
    inputs = bundle.golden.inputs["x"]
    with tamis.open(bundle, engine="native-int8") as rounded:
        moved = rounded(inputs).ravel()
    event = int(np.abs(moved - golden).argmax())
    between = float(moved[event] + golden[event]) / 2
    with pytest.raises(TamisError, match=r"flips the decision on [0-9]+ of [0-9]+ golden events .* at the working point 'tight'"):  # fmt: skip
        tamis.open(tolerant(0.2, between), engine="native-int8")


@pytest.mark.slow
def test_tune_tries_rounded_engines_on_request(tolerant, tmp_path) -> None:
    bundle, out = tolerant(0.2), tmp_path / "tuned.tamis"
    for more, there in (([], False), (["--rounded"], True)):
        done = CliRunner().invoke(app, ["tune", str(bundle.path), "-o", str(out), "--batch", "1", *more, "--json"])  # fmt: skip
        assert done.exit_code == 0, done.output
        assert ("native-bf16" in done.output) is there


def test_all_engines_exclude_rounded_ones() -> None:
    from tamis.cli.output import engines_of

    assert "native-bf16" not in engines_of("all")
    assert "native-bf16" in engines_of("all", rounded=True)
