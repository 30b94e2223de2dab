"""Each pass and each of its numbered cases; where it may not apply; and the proof that stands behind all of them."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from tamis.bundle import Reference, Signature, pack
from tamis.bundle.rewrite import PASSES, rewrite
from tamis.measure import verify

RNG = np.random.default_rng(0)
STATISTICS = "<float[3] mean = {0.1, -0.2, 5.0}, float[3] std = {2.0, 0.5, 3.0}>"


@pytest.fixture
def rewritten(parse_model):
    """Rewrite a model; return its operators, what was applied, and the largest change of any output."""

    def run(text, opset=17, rows="free", **shapes):
        model = parse_model(text, opset, **shapes)
        value = model.graph.input[0].type.tensor_type
        inner = [d.dim_value for d in value.shape.dim][1:]
        inputs = {model.graph.input[0].name: RNG.normal(size=(20, *inner)).astype(np.float32)}
        outputs = Reference(model)(inputs)
        signature = Signature.model_validate(
            {
                "inputs": [{"name": k, "shape": ["N", *v.shape[1:]]} for k, v in inputs.items()],
                "outputs": [{"name": k, "shape": ["N", *v.shape[1:]]} for k, v in outputs.items()],
                "rows": rows,
            }
        )
        after, applied = rewrite(model, inputs, outputs, signature)
        found = Reference(after)(inputs)
        for name, value in outputs.items():
            np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-5 * np.abs(value).max())
        assert [o.name for o in after.graph.output] == [o.name for o in model.graph.output]
        return [node.op_type for node in after.graph.node], {r.name: r.count for r in applied}

    return run


def test_identities_and_dropout_are_dropped(rewritten):
    operators, applied = rewritten(
        "m (float[N, 3] x) => (float[N, 3] y) { a = Identity (x) \n b = Dropout (a) \n c = Relu (b) \n y = Identity (c) }"
    )
    assert operators == ["Relu", "Identity"]  # the last one bears the name of an output
    assert applied == {"drop-identity": 2}


def test_a_dropout_whose_mask_is_read_stays(rewritten):
    operators, applied = rewritten(
        "m (float[N, 3] x) => (float[N, 3] y) { a, k = Dropout (x) \n b = Cast <to = 1> (k) \n y = Add (a, b) }"
    )
    assert "Dropout" in operators
    assert not applied


@pytest.mark.parametrize("attributes", ["", ", pads = [1, 1]", ", dilations = [2]", ", group = 2"])
def test_stride_one_transposed_convolutions_become_convolutions(rewritten, attributes):
    group = 2 if "group" in attributes else 1
    operators, applied = rewritten(
        f"m (float[N, 4, 9] x) => (float[N, k, l] y) {{ y = ConvTranspose <kernel_shape = [3]{attributes}> (x, w, b) }}",
        w=(4, 6 // group, 3),
        b=(6,),
    )
    assert operators == ["Conv"]
    assert applied == {"transpose-to-conv": 1}


@pytest.mark.parametrize(
    "attributes", ["strides = [2]", "pads = [3, 3]", 'auto_pad = "SAME_UPPER"', "output_shape = [11]"]
)
def test_other_transposed_convolutions_stay(rewritten, attributes):
    operators, applied = rewritten(
        f"m (float[N, 4, 9] x) => (float[N, k, l] y) {{ y = ConvTranspose <kernel_shape = [3], {attributes}> (x, w) }}",
        w=(4, 6, 3),
    )
    assert operators == ["ConvTranspose"]
    assert not applied


def test_computed_weights_are_left_alone(rewritten):
    operators, applied = rewritten(
        "m (float[N, 4, 9] x) => (float[N, 6, 11] y) { v = Abs (w) \n y = ConvTranspose <kernel_shape = [3]> (x, v) }",
        w=(4, 6, 3),
    )
    assert "ConvTranspose" in operators
    assert not applied


def test_shared_weights_serve_both_layers_after_a_rewrite(rewritten):
    operators, applied = rewritten(
        """m (float[N, 4, 9] x) => (float[N, 4, 13] y) {
            a = ConvTranspose <kernel_shape = [3]> (x, w)
            y = ConvTranspose <kernel_shape = [3]> (a, w)
        }""",
        w=(4, 4, 3),
    )
    assert operators == ["Conv", "Conv"]
    assert applied == {"transpose-to-conv": 2}


@pytest.mark.parametrize("bias", [", b", ""])
def test_a_column_is_transposed_in_one_dimension(rewritten, bias):
    shapes = {"w": (4, 2, 3, 3), "axes": ()} | ({"b": (2,)} if bias else {})
    shapes.pop("axes")
    operators, applied = rewritten(
        f"""m (float[N, 4, 9] x) => (float[N, 2, 11, 3] y) {{
            axes = Constant <value_ints = [3]> ()
            u = Unsqueeze (x, axes)
            y = ConvTranspose <kernel_shape = [3, 3]> (u, w{bias})
        }}""",
        **shapes,
    )
    assert applied["narrow-transpose"] == 1
    assert "Unsqueeze" not in operators


@pytest.mark.parametrize("change", ["strides = [2, 1]", "pads = [1, 0, 1, 0]", "dilations = [2, 1]"])
def test_a_column_with_anything_else_stays(rewritten, change):
    _, applied = rewritten(
        f"""m (float[N, 4, 9] x) => (float[N, 2, h, 3] y) {{
            axes = Constant <value_ints = [3]> ()
            u = Unsqueeze (x, axes)
            y = ConvTranspose <kernel_shape = [3, 3], {change}> (u, w)
        }}""",
        w=(4, 2, 3, 3),
    )
    assert "narrow-transpose" not in applied


def test_a_column_that_is_read_twice_stays(rewritten):
    _, applied = rewritten(
        """m (float[N, 4, 9] x) => (float[N, 2, 11, 3] y, float[N, 4, 9, 1] u) {
            axes = Constant <value_ints = [3]> ()
            u = Unsqueeze (x, axes)
            y = ConvTranspose <kernel_shape = [3, 3]> (u, w)
        }""",
        w=(4, 2, 3, 3),
    )
    assert "narrow-transpose" not in applied


CONV = "y = Conv <kernel_shape = [3, 3]> (c, w, b)"
CHAINS = {
    "sub-div": "a = Sub (x, mean) \n c = Div (a, std)",
    "mul-add": "a = Mul (x, std) \n c = Add (a, mean)",
    "add-first": "a = Add (mean, x) \n c = Mul (std, a)",
    "minus": "a = Sub (mean, x) \n c = Div (a, std)",
}


@pytest.mark.parametrize("chain", CHAINS)
def test_a_normalisation_is_folded_into_the_convolution(rewritten, chain):
    steps = CHAINS[chain].replace("c = ", "n = ")
    operators, applied = rewritten(
        f"""m (float[N, 8, 3] x) => (float[N, 5, 6, 1] y) {STATISTICS} {{
            {steps}
            axes = Constant <value_ints = [1]> ()
            c = Unsqueeze (n, axes)
            {CONV}
        }}""",
        w=(5, 1, 3, 3),
        b=(5,),
    )
    assert operators == ["Unsqueeze", "Conv"]
    assert applied == {"fold-normalisation": 1}


def test_a_normalisation_is_folded_through_a_transpose_into_channels(rewritten):
    operators, applied = rewritten(
        f"""m (float[N, 8, 3] x) => (float[N, 5, 6] y) {STATISTICS} {{
            a = Sub (x, mean) \n n = Div (a, std)
            c = Transpose <perm = [0, 2, 1]> (n)
            y = Conv <kernel_shape = [3]> (c, w)
        }}""",
        w=(5, 3, 3),
    )
    assert operators == ["Transpose", "Conv"]
    assert applied == {"fold-normalisation": 1}


@pytest.mark.parametrize(
    ("layer", "shapes", "left"),
    [
        ("y = Gemm <transB = 1> (c, w, b)", {"w": (5, 3), "b": (5,)}, ["Gemm"]),
        ("y = Gemm <alpha = 0.5> (c, w)", {"w": (3, 5)}, ["Gemm"]),
        ("h = MatMul (c, w) \n y = Add (h, b)", {"w": (3, 5), "b": (5,)}, ["MatMul", "Add"]),
        ("h = MatMul (c, w) \n y = Add (b, h)", {"w": (3, 5), "b": (5,)}, ["MatMul", "Add"]),
    ],
)
def test_a_normalisation_is_folded_into_a_matrix(rewritten, layer, shapes, left):
    operators, applied = rewritten(
        f"m (float[N, 3] x) => (float[N, 5] y) {STATISTICS} {{ a = Sub (x, mean) \n c = Div (a, std) \n {layer} }}",
        **shapes,
    )
    assert operators == left
    assert applied == {"fold-normalisation": 1}


@pytest.mark.parametrize(
    "body",
    [
        # a padded zero stands for the mean
        "a = Sub (x, mean) \n n = Div (a, std) \n c = Transpose <perm = [0, 2, 1]> (n) \n y = Conv <kernel_shape = [3], pads = [1, 1]> (c, w)",
        'a = Sub (x, mean) \n n = Div (a, std) \n c = Transpose <perm = [0, 2, 1]> (n) \n y = Conv <kernel_shape = [3], auto_pad = "SAME_UPPER"> (c, w)',
        # the kernel slides over an axis along which the statistics differ
        "a = Sub (x, mean) \n c = Div (a, std) \n y = Conv <kernel_shape = [2]> (c, v)",
        # somebody else reads the normalised value
        "a = Sub (x, mean) \n n = Div (a, std) \n c = Transpose <perm = [0, 2, 1]> (n) \n h = Conv <kernel_shape = [3]> (c, w) \n s = ReduceMean (n) \n y = Add (h, s)",
        # nothing linear follows
        "a = Sub (x, mean) \n n = Div (a, std) \n y = Tanh (n)",
        # there is no bias to put the shift into
        "a = Sub (x, mean) \n n = Div (a, std) \n y = MatMul (n, u)",
        # divided by the data
        "n = Div (mean, x) \n c = Transpose <perm = [0, 2, 1]> (n) \n y = Conv <kernel_shape = [3]> (c, w)",
    ],
)  # fmt: skip
def test_a_normalisation_that_cannot_be_folded_stays(rewritten, body):
    used = {k: s for k, s in {"w": (5, 3, 3), "v": (5, 8, 2), "u": (3, 5)}.items() if f", {k})" in body}
    _, applied = rewritten(f"m (float[N, 8, 3] x) => (float[N, k, l] y) {STATISTICS} {{ {body} }}", **used)
    assert "fold-normalisation" not in applied


def test_a_normalised_value_that_is_an_output_stays(rewritten):
    operators, applied = rewritten(
        f"m (float[N, 3] x) => (float[N, 5] y, float[N, 3] c) {STATISTICS} {{ a = Sub (x, mean) \n c = Div (a, std) \n y = Gemm (c, w) }}",
        w=(3, 5),
    )
    assert operators == ["Sub", "Div", "Gemm"]
    assert not applied


def test_the_proof_rejects_a_wrong_rewrite(rewritten, monkeypatch):
    def wrong(graph):
        for node in graph:
            if node.op_type == "Relu":
                node.op_type = "Abs"
        return 1

    def broken(graph):
        graph.remove(next(iter(graph)), safe=False)
        return 1

    def confused(graph):
        raise KeyError(graph.name)

    for name, run in {"wrong": wrong, "broken": broken, "confused": confused}.items():
        monkeypatch.setitem(PASSES, name, run)
    operators, applied = rewritten("m (float[N, 3] x) => (float[N, 3] y) { a = Relu (x) \n y = Neg (a) }")
    assert operators == ["Relu", "Neg"]
    assert not applied


def test_a_packed_model_tells_its_rewrites_and_passes_the_gate_everywhere(parse_model, tmp_path, engine_name):
    model = parse_model(
        f"""m (float[N, 8, 3] x) => (float[N] y) {STATISTICS} {{
            a = Sub (x, mean) \n n = Div (a, std)
            axes = Constant <value_ints = [1]> ()
            c = Unsqueeze (n, axes)
            h = Conv <kernel_shape = [3, 3]> (c, w, b)
            g = ConvTranspose <kernel_shape = [3, 1]> (h, t)
            all = Constant <value_ints = [1, 2, 3]> ()
            y = ReduceSum <keepdims = 0> (g, all)
        }}""",
        w=(5, 1, 3, 3),
        b=(5,),
        t=(5, 2, 3, 1),
    )
    packed = pack(model, tmp_path / "m.tamis")
    assert {r.name for r in packed.bundle.manifest.rewrites} == {"transpose-to-conv", "fold-normalisation"}
    assert sum("rewrite" in note for note in packed.notes) == 2
    assert verify(packed.bundle, engine_name).passed
    plain = pack(model, tmp_path / "plain.tamis", rewrites=False)
    assert plain.bundle.manifest.rewrites == ()
    assert "ConvTranspose" in [n.op_type for n in plain.bundle.model.graph.node]
    assert onnx.checker.check_model(packed.bundle.model) is None


def test_short_constants_are_written_out(rewritten):
    operators, applied = rewritten(
        f"""m (float[N, 5, 3] x) => (float[N, 5, 3] y) {STATISTICS} {{
            a = Sub (x, mean) \n b = Abs (a) \n c = Div (b, std) \n d = Abs (c) \n y = Add (mean, d)
        }}"""
    )
    assert operators == ["Sub", "Abs", "Div", "Abs", "Add"]
    assert applied == {"expand-constants": 3}


@pytest.mark.parametrize(
    "text",
    [
        "m (float[N, 5, 3] x) => (float[N, 5, 3] y) <float s = {2.0}> { y = Mul (x, s) }",  # a scalar
        "m (float[N, 3] x) => (float[N, 3] y) <float[3] s = {2.0, 3.0, 4.0}> { y = Mul (x, s) }",  # as wide as it can be
        "m (float[N, 5, 3] x) => (float[N, 5, 3] y) <float[3] s = {2.0, 3.0, 4.0}> { a = MatMul (x, w) \n y = Add (a, s) }",
        "m (float[N, 1] x) => (float[N, 3] y) <float[3] s = {2.0, 3.0, 4.0}> { y = Mul (x, s) }",  # the wider one itself
    ],
)
def test_other_constants_stay_short(rewritten, text):
    shapes = {"w": (3, 3)} if "w)" in text else {}
    assert "expand-constants" not in rewritten(text, **shapes)[1]


def test_written_out_constants_count_once(parse_model, tmp_path):
    model = parse_model(
        "m (float[N, 5, 3] x) => (float[N, 5, 3] y) <float[3] s = {2.0, 3.0, 4.0}> { y = Mul (x, s) }"
    )
    bundle = pack(model, tmp_path / "m.tamis").bundle
    assert [r.name for r in bundle.manifest.rewrites] == ["expand-constants"]
    assert sum(bundle.parameters.values()) == 3
