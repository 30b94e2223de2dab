from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import tamis
from tamis._base import InputMismatchError, ModelError, UnreadableFileError, UsageError
from tamis.bundle import Reference, pack, parse_dims
from tamis.bundle.model import parse_model as parsed
from tamis.engines import engine_names, find_engine
from tamis.measure import verify


def weights(model, **arrays):
    model.graph.initializer.extend(
        numpy_helper.from_array(v.astype(np.float32), k) for k, v in arrays.items()
    )
    return model


@pytest.fixture
def packed(tmp_path):
    return lambda model, **options: pack(model, tmp_path / "m.tamis", **options)


def test_samples_become_the_golden_events(bundle_of, packed, tmp_path):
    model = bundle_of("dense").model
    x = np.random.default_rng(5).normal(size=(200, 12))
    np.savez(tmp_path / "named.npz", x=x)
    np.savez(tmp_path / "unnamed.npz", x)
    np.save(tmp_path / "one.npy", x)
    for inputs in (tmp_path / "named.npz", tmp_path / "unnamed.npz", tmp_path / "one.npy", {"x": x}):
        bundle = packed(model, inputs=inputs).bundle
        assert len(bundle.golden.inputs["x"]) == 64
        np.testing.assert_array_equal(bundle.golden.inputs["x"][[0, -1]], x[[0, -1]].astype(np.float32))
        expected = Reference(model)({"x": bundle.golden.inputs["x"]})["score"]
        np.testing.assert_allclose(bundle.golden.outputs["score"], expected, rtol=1e-12)


def test_samples_that_do_not_fit_are_rejected(bundle_of, packed, tmp_path):
    model = bundle_of("deep-jet").model
    (tmp_path / "text.npz").write_text("hello")
    np.savez(tmp_path / "whole.npz", x=np.zeros(3))
    data = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "half.npz").write_bytes(data[: len(data) // 2])
    (tmp_path / "damaged.npz").write_bytes(data[:60] + b"\xff" * 20 + data[80:])
    for name in ("text.npz", "half.npz", "damaged.npz", "absent.npz"):
        with pytest.raises(UnreadableFileError, match=f"cannot read the samples .*{name}"):
            packed(model, inputs=tmp_path / name)
    good = bundle_of("deep-jet").golden.inputs
    with pytest.raises(InputMismatchError, match=r"the samples hold .*'sw'.*did you mean 'sv'"):
        packed(model, inputs={("sw" if k == "sv" else k): v for k, v in good.items()})
    with pytest.raises(InputMismatchError, match="the samples hold 'x'"):
        packed(model, inputs={"x": np.zeros((3, 3))})
    with pytest.raises(InputMismatchError, match="hold no events"):
        packed(bundle_of("dense").model, inputs={"x": np.zeros((0, 12))})
    with pytest.raises(InputMismatchError, match="is int64, the model takes float32"):
        packed(bundle_of("dense").model, inputs={"x": np.zeros((4, 12), np.int64)})


def test_the_score_is_the_named_or_the_only_output(bundle_of, packed):
    assert packed(bundle_of("dense").model).bundle.manifest.score == "score"
    two = bundle_of("conv1d").model
    assert packed(two).bundle.manifest.score is None
    assert packed(two, score="score").bundle.manifest.score == "score"
    with pytest.raises(UsageError, match="no output 'probabilites'; did you mean 'probabilities'"):
        packed(two, score="probabilites")


def test_free_inner_dimensions_are_given_or_assumed_with_a_note(parse_model, packed):
    model = parse_model(
        "m (float[N, n, 3] x) => (float[N, k] y) { y = ReduceSum <axes = [2], keepdims = 0> (x) }", 11
    )
    result = packed(model)
    assert "free dimensions assumed: n=16 (change them with --dims)" in result.notes[0]
    result = packed(model, dims={"n": 50, "N": 1})
    assert result.bundle.golden.inputs["x"].shape == (64, 50, 3)
    assert "assumed" not in result.notes[0]
    with pytest.raises(UsageError, match=r"no free dimension 'm'; did you mean|known: N, n"):
        packed(model, dims={"m": 4})
    with tamis.open(result.bundle) as session:
        assert session(np.ones((2, 7, 3), np.float32)).shape == (2, 7)
        assert session(np.ones((0, 7, 3), np.float32)).shape[0] == 0


def test_dims_are_parsed():
    assert parse_dims("N=1, n=50") == {"N": 1, "n": 50}
    for text in ("N", "N=x", "=3", "N=-1"):
        with pytest.raises(UsageError, match="NAME=NUMBER"):
            parse_dims(text)


def test_events_that_influence_each_other_are_detected(parse_model, packed):
    model = parse_model(
        "m (float[N, 3] x) => (float[N, 3] y) { m = ReduceMean <axes = [0]> (x) \n y = Sub (x, m) }", 11
    )
    for inputs in (None, {"x": np.ones((1, 3))}, {"x": np.arange(12).reshape(4, 3) * 1.0}):
        result = packed(model, inputs=inputs)
        assert result.bundle.manifest.signature.rows == "none"
        assert any("influence each other" in note for note in result.notes)


def test_unnamed_leading_dimensions_are_a_batch(packed):
    graph = helper.make_graph(
        [helper.make_node("Add", ["a", "b"], ["y"])],
        "m",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, [None, 3]) for n in "ab"],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 3])],
    )
    result = packed(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)]))
    assert result.bundle.manifest.signature.rows == "free"
    with tamis.open(result.bundle) as session:
        assert session(np.ones((5, 3), np.float32), np.ones((5, 3), np.float32)).shape == (5, 3)


def test_a_graph_that_takes_one_event_per_call_runs_event_by_event(parse_model, packed):
    model = parse_model(
        """m (float[N, 6] x) => (float[N, 2] y) {
            shape = Constant <value_ints = [1, 2, 3]> ()
            a = Reshape (x, shape)
            axes = Constant <value_ints = [2]> ()
            y = ReduceSum <keepdims = 0> (a, axes)
        }"""
    )
    result = packed(model)
    assert any("one event per call" in note for note in result.notes)
    x = np.arange(18, dtype=np.float32).reshape(3, 6)
    for engine in ("onnxruntime", "torch", "openvino", "reference"):
        with tamis.open(result.bundle, engine) as session:
            np.testing.assert_allclose(session(x), x.reshape(3, 2, 3).sum(2))


def test_a_fixed_leading_dimension_that_is_not_a_batch_is_detected(parse_model, packed):
    summed = parse_model("m (float[5, 3] x) => (float[1, 3] y) { y = ReduceSum <axes = [0]> (x) }", 11)
    assert packed(summed).bundle.manifest.signature.rows == "none"
    mixed = parse_model(
        "m (float[5, 3] x) => (float[5, 3] y) { m = ReduceMean <axes = [0]> (x) \n y = Sub (x, m) }", 11
    )
    assert packed(mixed).bundle.manifest.signature.rows == "none"
    independent = parse_model("m (float[5, 3] x) => (float[5, 3] y) { y = Relu (x) }", 11)
    assert packed(independent).bundle.manifest.signature.rows == "fixed"
    assert packed(independent).bundle.golden.inputs["x"].shape == (320, 3)
    with (
        tamis.open(packed(independent).bundle) as session,
        pytest.raises(InputMismatchError, match="pass a multiple of 5"),
    ):
        session(np.ones((7, 3), np.float32))


def test_sizes_that_the_graph_cannot_take_are_reported(parse_model, packed):
    model = weights(
        parse_model("m (float[N, n] x) => (float[N, 2] y) { y = MatMul (x, w) }"), w=np.ones((500, 2))
    )
    with pytest.raises(ModelError, match=r"sizes tried: N=3, n=16 \(choose others with --dims\)"):
        packed(model)
    assert packed(model, dims={"n": 500}).bundle.manifest.signature.rows == "free"
    assert packed(model, inputs={"x": np.ones((4, 500))}).bundle.manifest.signature.rows == "free"


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.DOUBLE])
def test_other_precisions_pass_the_gate_with_their_tolerance(packed, kind):
    dtype = helper.tensor_dtype_to_np_dtype(kind)
    rng = np.random.default_rng(0)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("Tanh", ["a"], ["y"])],
        "m",
        [helper.make_tensor_value_info("x", kind, ["N", 20])],
        [helper.make_tensor_value_info("y", kind, ["N", 5])],
        [numpy_helper.from_array((rng.normal(size=(20, 5)) / 5).astype(dtype), "w")],
    )
    bundle = packed(
        helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    ).bundle
    assert bundle.manifest.signature.outputs[0].dtype == dtype.name
    for engine in ("onnxruntime", "openvino", "torch"):
        found = verify(bundle, engine)
        assert found.passed, found.problem
        with tamis.open(bundle, engine) as session:
            assert session(np.ones((3, 20), dtype)).dtype == dtype


def test_events_that_depend_on_the_last_bit_are_not_golden_events(parse_model, packed):
    model = parse_model(
        "m (float[N, 2] x) => (float[N] y) { a = ArgMax <axis = 1, keepdims = 0> (x) \n y = Cast <to = 1> (a) }"
    )
    x = np.random.default_rng(0).normal(size=(10, 2)).astype(np.float32)
    x[3] = 0.7, 0.7
    result = packed(model, inputs={"x": x})
    assert len(result.bundle.golden.inputs["x"]) == 9
    assert any("1 of 10 sample events depend on the last bit" in note for note in result.notes)
    result = packed(model, inputs={"x": np.full((4, 2), 0.7)})
    assert any("every sample event depends" in note for note in result.notes)


def test_events_that_float32_cannot_resolve_are_not_golden_events(parse_model, packed):
    """A difference of large numbers: stable when an input's last bit changes, but lost in float32 intermediates."""
    model = parse_model(
        """m (float[N, 3] x) => (float[N] y) {
            big = Constant <value_float = 100000.0> ()
            a = Add (x, big)
            b = ArgMax <axis = 1, keepdims = 0> (a)
            y = Cast <to = 1> (b)
        }"""
    )
    x = np.random.default_rng(0).normal(size=(20, 3)).astype(np.float32)
    x[7] = 0.5, 0.501, 0.502
    result = packed(model, inputs={"x": x})
    assert not (result.bundle.golden.inputs["x"] == x[7]).all(axis=1).any()
    assert len(result.bundle.golden.inputs["x"]) >= 15
    assert verify(result.bundle, "onnxruntime").passed


def test_models_that_draw_random_numbers_are_rejected_with_advice(parse_model, packed):
    model = parse_model("m (float[N, 3] x) => (float[N, 3] y) { e = RandomNormalLike (x) \n y = Add (x, e) }")
    with pytest.raises(ModelError, match=r"draws random numbers \(RandomNormalLike.*use the mean of z"):
        packed(model)


def test_operators_of_one_runtime_are_rejected_in_one_sentence(packed):
    node = helper.make_node("FusedMatMul", ["x", "x"], ["y"], domain="com.microsoft")
    graph = helper.make_graph(
        [node],
        "m",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [3, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [3, 3])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    with pytest.raises(ModelError, match=r"com.microsoft.FusedMatMul.*before it is optimised") as raised:
        packed(helper.make_model(graph, ir_version=8, opset_imports=opsets))
    assert "\n" not in str(raised.value)


def tree_classifier(zipmap):
    """Return a decision tree as skl2onnx writes it: a label, and probabilities with or without ZipMap."""
    tree = helper.make_node(
        "TreeEnsembleClassifier",
        ["x"],
        ["label", "probabilities"],
        domain="ai.onnx.ml",
        nodes_treeids=[0, 0, 0],
        nodes_nodeids=[0, 1, 2],
        nodes_featureids=[1, 0, 0],
        nodes_values=[0.25, 0.0, 0.0],
        nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"],
        nodes_truenodeids=[1, 0, 0],
        nodes_falsenodeids=[2, 0, 0],
        nodes_hitrates=[1.0, 1.0, 1.0],
        nodes_missing_value_tracks_true=[0, 0, 0],
        class_treeids=[0, 0, 0, 0],
        class_nodeids=[1, 1, 2, 2],
        class_ids=[0, 1, 0, 1],
        class_weights=[0.9, 0.1, 0.2, 0.8],
        classlabels_strings=["qcd", "top"],
        post_transform="NONE",
    )
    nodes, outputs = [tree], [helper.make_tensor_value_info("label", TensorProto.STRING, ["N"])]
    if zipmap:
        nodes.append(
            helper.make_node(
                "ZipMap", ["probabilities"], ["maps"], domain="ai.onnx.ml", classlabels_strings=["qcd", "top"]
            )
        )
        kind = helper.make_map_type_proto(
            TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, [])
        )
        outputs.append(helper.make_value_info("maps", helper.make_sequence_type_proto(kind)))
    else:
        outputs.append(helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 2]))
    graph = helper.make_graph(
        nodes, "trees", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])], outputs
    )
    opsets = [helper.make_opsetid("", 15), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, ir_version=8, opset_imports=opsets)


@pytest.mark.parametrize("zipmap", [True, False])
def test_decision_trees_keep_their_probabilities(packed, zipmap):
    result = packed(tree_classifier(zipmap))
    assert [spec.name for spec in result.bundle.manifest.signature.outputs] == ["probabilities"]
    assert any("'label' is not a numeric tensor and is dropped" in note for note in result.notes)
    assert result.bundle.manifest.cost is None  # trees have no count, rather than a wrong one
    with tamis.open(result.bundle) as session:
        x = np.array([[0, 0, 0], [0, 1, 0]], np.float32)
        np.testing.assert_allclose(session(x), [[0.9, 0.1], [0.2, 0.8]], rtol=1e-6)
    for engine in engine_names():
        if find_engine(engine).computes and find_engine(engine).local:
            found = verify(result.bundle, engine)
            assert found.passed or any(
                reason in found.problem
                for reason in (
                    "cannot run",
                    "does not support",
                    "does not know",
                    "does not compile",
                    "is quantised",
                )
            )
            assert "\n" not in found.problem


def test_operators_after_a_tree_compute_in_float64(packed):
    model = tree_classifier(zipmap=False)
    graph = model.graph
    del graph.output[:]
    graph.initializer.append(numpy_helper.from_array(np.float32([0.1, 0.2]), "shift"))
    graph.node.append(helper.make_node("Add", ["probabilities", "shift"], ["y"]))
    graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2]))
    with tamis.open(packed(model).bundle) as session:
        np.testing.assert_allclose(session(np.zeros((1, 3), np.float32)), [[1.0, 0.3]], rtol=1e-6)


def quantised(opset):
    """Return a dense layer after static quantisation: integers between QuantizeLinear and DequantizeLinear."""
    rng = np.random.default_rng(2)
    values = {
        "s": np.float32(0.02),
        "z": np.uint8(128),
        "w": rng.integers(-127, 127, (6, 3), dtype=np.int8),
        "ws": np.float32(0.01),
        "wz": np.int8(0),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"]),
        helper.make_node("MatMul", ["xd", "wd"], ["m"]),
        helper.make_node("Sigmoid", ["m"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "quantised",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in values.items()],
    )
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", opset)])


@pytest.mark.parametrize("opset", [10, 13, 17, 19])
def test_quantised_models_get_a_tolerance_of_their_quantisation_steps(packed, opset):
    bundle = packed(quantised(opset)).bundle
    assert bundle.manifest.signature.outputs[0].tolerance.relative == pytest.approx(0.02)
    for engine in ("onnxruntime", "native", "reference"):
        assert verify(bundle, engine).passed
    found = verify(bundle, "openvino")
    assert found.passed or "openvino saturates on processors without VNNI" in found.problem


def test_neighbours_by_index_are_one_graph_not_a_batch(parse_model, packed):
    model = parse_model(
        "m (float[n, 3] x, int64[n, 2] nbr) => (float[n, 2, 3] y) { y = Gather <axis = 0> (x, nbr) }"
    )
    rng = np.random.default_rng(0)
    inputs = {"x": rng.normal(size=(20, 3)), "nbr": rng.integers(0, 20, (20, 2))}
    result = packed(model, inputs=inputs)
    assert result.bundle.manifest.signature.rows == "none"
    assert "never split into chunks" in result.notes[0]
    with tamis.open(result.bundle) as session:
        expected = inputs["x"].astype(np.float32)[inputs["nbr"]]
        np.testing.assert_array_equal(session(inputs["x"].astype(np.float32), inputs["nbr"]), expected)


def test_sizes_of_nodes_and_edges_can_be_given(parse_model, packed):
    model = parse_model(
        "m (float[nodes, 3] x, int64[edges] e) => (float[edges, 3] y) { y = Gather <axis = 0> (x, e) }"
    )
    golden = packed(model, dims={"nodes": 20, "edges": 50}).bundle.golden
    assert golden.inputs["x"].shape == (20, 3)
    assert golden.outputs["y"].shape == (50, 3)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino", "torch", "reference"])
def test_an_unused_input_is_accepted_and_ignored(parse_model, packed, engine):
    model = parse_model("m (float[N, 2] u, float[N, 3] x) => (float[N, 3] y) { y = Relu (x) }")
    with tamis.open(packed(model).bundle, engine) as session:
        u, x = np.ones((4, 2), np.float32), np.arange(12, dtype=np.float32).reshape(4, 3) - 6
        np.testing.assert_array_equal(session(u, x), np.maximum(x, 0))
        np.testing.assert_array_equal(session.bind(u, x)()[0], np.maximum(x, 0))


@pytest.mark.parametrize("name", ["my model", "modèle", "_x", "x(1)", "n" * 120])
def test_a_name_that_is_not_portable_is_rejected(bundle_of, tmp_path, name):
    with pytest.raises(UsageError, match=r"a bundle cannot be called .*; rename the output, or give --name"):
        pack(bundle_of("dense").model, tmp_path / f"{name}.tamis")
    with pytest.raises(UsageError, match="; choose another"):
        pack(bundle_of("dense").model, tmp_path / "m.tamis", name=name)
    assert pack(bundle_of("dense").model, tmp_path / f"{name}.tamis", name="plain").bundle.name == "plain"


def test_features_must_name_an_input(bundle_of, packed):
    with pytest.raises(UsageError, match="the model has no input 'y'; known: x"):
        packed(bundle_of("dense").model, features={"y": "leading_jets"})


def test_a_model_with_string_inputs_is_rejected(packed):
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "m",
        [helper.make_tensor_value_info("x", TensorProto.STRING, ["N"])],
        [helper.make_tensor_value_info("y", TensorProto.STRING, ["N"])],
    )
    with pytest.raises(ModelError, match="'x' holds string values; supported are float32"):
        packed(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)]))


def test_a_graph_with_local_functions_runs_on_every_engine(packed):
    body = helper.make_node("Mul", ["a", "a"], ["b"])
    function = helper.make_function("mine", "Square", ["a"], ["b"], [body], [helper.make_opsetid("", 17)])
    graph = helper.make_graph(
        [helper.make_node("Square", ["x"], ["y"], domain="mine")],
        "m",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
    bundle = packed(helper.make_model(graph, functions=[function], ir_version=8, opset_imports=opsets)).bundle
    for engine in ("onnxruntime", "openvino", "torch", "reference"):
        assert verify(bundle, engine).passed


def test_the_nan_policy_is_detected_from_the_graph(parse_model, packed):
    assert (
        packed(parse_model("m (float[N, 3] x) => (float[N, 3] y) { y = Relu (x) }")).bundle.manifest.nan
        == "propagate"
    )
    model = parse_model(
        """m (float[N, 3] x) => (float[N, 3] y) {
            b = IsNaN (x)
            zero = Constant <value_float = 0.0> ()
            y = Where (b, zero, x)
        }"""
    )
    bundle = packed(model).bundle
    assert bundle.manifest.nan == "model"
    with tamis.open(bundle) as session:
        np.testing.assert_array_equal(session(np.array([[1, np.nan, 2]], np.float32)), [[1, 0, 2]])


def test_a_graph_with_sequences_is_packed(parse_model, packed):
    model = parse_model(
        """m (float[N, 3] x) => (float[N, 1] y) {
            s = SplitToSequence <axis = 1> (x)
            i = Constant <value = int64 {1}> ()
            y = SequenceAt (s, i)
        }"""
    )
    golden = packed(model).bundle.golden
    np.testing.assert_array_equal(golden.outputs["y"][:, 0], golden.inputs["x"][:, 1])


def test_cost_counts_multiply_adds(bundle_of):
    cost = bundle_of("dense").manifest.cost
    assert cost.flops == 2 * 12 * 8 + 8 + 2 * 8 + 1
    assert cost.weight_bytes == 4 * (12 * 8 + 8 + 8)
    assert bundle_of("deep-jet").manifest.cost.flops > 2 * 7 * (4 * 5 * (4 + 5))


class TestImports:
    """TorchScript, Keras and rejected formats."""

    @pytest.fixture
    def module(self):
        import torch

        class Two(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b = torch.nn.Linear(4, 3), torch.nn.Linear(5, 3)

            def forward(self, tracks, towers):
                return torch.sigmoid(self.a(tracks) + self.b(towers)).sum(1)

        torch.manual_seed(0)
        return Two()

    @pytest.mark.parametrize("how", ["script", "trace"])
    @pytest.mark.parametrize(
        "names", [("tracks", "towers"), ("tracks.1", "towers.1"), ("arr_0", "arr_1"), ("u", "v")]
    )
    def test_torchscript(self, module, packed, tmp_path, how, names):
        import warnings

        import torch

        a, b = torch.randn(6, 4), torch.randn(6, 5)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            script = torch.jit.script(module) if how == "script" else torch.jit.trace(module, (a, b))
            script.save(str(tmp_path / "m.pt"))
            np.savez(tmp_path / "s.npz", **dict(zip(names, (a.numpy(), b.numpy()), strict=True)))
            result = packed(tmp_path / "m.pt", inputs=tmp_path / "s.npz")
            for message, samples in (
                ("declares no shapes: give --inputs", None),
                ("cannot be run on the samples", {"tracks": a.numpy(), "towers": a.numpy()}),
                ("takes the arguments tracks, towers", {"tracks": a.numpy()}),
            ):
                with pytest.raises((UsageError, ModelError), match=message):
                    packed(tmp_path / "m.pt", inputs=samples)
            with pytest.raises(UsageError, match="--dims does not apply"):
                packed(tmp_path / "m.pt", inputs=tmp_path / "s.npz", dims={"n": 3})
        with tamis.open(result.bundle) as session:
            np.testing.assert_allclose(
                session(a.numpy(), b.numpy()), module(a, b).detach().numpy(), rtol=1e-5
            )

    def test_pickles_are_rejected_with_advice(self, module, packed, tmp_path):
        import torch

        torch.save(torch.nn.Linear(2, 2), tmp_path / "zip.pt")
        torch.save(module.state_dict(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
        for name in ("zip.pt", "old.pt"):
            with pytest.raises(
                ModelError, match=r"is a pickle .*can run code.*torch.jit.save or torch.onnx.export"
            ):
                packed(tmp_path / name)

    def test_files_that_are_not_models_are_reported(self, packed, tmp_path):
        import zipfile

        (tmp_path / "h5").write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 100)
        with zipfile.ZipFile(tmp_path / "zip", "w") as archive:
            archive.writestr("readme", "hello")
        broken = bytearray((tmp_path / "zip").read_bytes())
        broken[-30:-22] = b"\xff" * 8
        (tmp_path / "broken").write_bytes(broken)
        (tmp_path / "text").write_text("hello")
        messages = {
            "h5": "HDF5 .*save it as .keras",
            "zip": "neither TorchScript nor Keras",
            "broken": "zip|ONNX",
            "text": "is not an? ",
        }
        for name, message in messages.items():
            with pytest.raises(ModelError, match=message):
                packed(tmp_path / name)
        with pytest.raises(UsageError, match="there is no model file"):
            packed(tmp_path / "absent.onnx")

    def test_keras(self, packed, tmp_path, monkeypatch):
        monkeypatch.setenv("KERAS_BACKEND", "torch")
        import warnings

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            keras = pytest.importorskip("keras")
            if keras.backend.backend() != "torch":
                pytest.skip("Keras was imported with another backend before")
            inputs = keras.Input((None, 3), name="jets")
            hidden = keras.layers.Dense(4, activation="relu")(inputs)
            model = keras.Model(inputs, keras.layers.Dense(1)(keras.layers.GlobalAveragePooling1D()(hidden)))
            model.save(tmp_path / "m.keras")
            result = packed(tmp_path / "m.keras", dims={"jets_1": 7})
            x = np.random.default_rng(0).normal(size=(5, 9, 3)).astype(np.float32)
            expected = model(x).detach().cpu().numpy()
        assert result.bundle.golden.inputs["jets"].shape == (64, 7, 3)
        with tamis.open(result.bundle) as session:
            np.testing.assert_allclose(session(x), expected, rtol=1e-4, atol=1e-6)
        (tmp_path / "bad.keras").write_bytes((tmp_path / "m.keras").read_bytes()[:-300])
        with pytest.raises(ModelError):
            packed(tmp_path / "bad.keras")


def test_nodes_are_put_in_order_and_weights_may_be_listed_as_inputs(tmp_path):
    weights = numpy_helper.from_array(np.eye(3, dtype=np.float32) * 2, "w")
    value = helper.make_tensor_value_info
    nodes = [
        helper.make_node("Relu", ["b"], ["y"]),
        helper.make_node("Add", ["a", "x"], ["b"]),
        helper.make_node("MatMul", ["x", "w"], ["a"]),
    ]
    graph = helper.make_graph(
        nodes,
        "unsorted",
        [value("x", TensorProto.FLOAT, ["N", 3]), value("w", TensorProto.FLOAT, [3, 3])],
        [value("y", TensorProto.FLOAT, ["N", 3])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "unsorted.onnx").write_bytes(model.SerializeToString())
    bundle = pack(tmp_path / "unsorted.onnx", tmp_path / "unsorted.tamis").bundle
    assert [spec.name for spec in bundle.manifest.signature.inputs] == ["x"]
    for engine in ("native", "onnxruntime"):
        with tamis.open(bundle, engine) as session:
            assert session.run(x=np.ones((1, 3), np.float32))["y"].tolist() == [[3.0, 3.0, 3.0]]
    graph.node[2].input[0] = "y"  # a circle
    broken = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(ModelError, match="not a valid ONNX model"):
        parsed(broken.SerializeToString(), "broken")
