"""The engine of `serve` on Triton repositories: applied through the gate, or refused with the model and the setting."""

from __future__ import annotations

import tempfile

import numpy as np
import pytest

from tamis._base import ModelError
from tamis.engines.engine import Runner
from tamis.engines.onnxruntime import OnnxRuntimeEngine
from tamis.serve.export import export_triton
from tamis.serve.models import bundles, onnx_engines
from tamis.serve.models.folders import find_models
from tamis.serve.models.model import OpeningSettings
from tamis.serve.models.opening import open_models

X = np.arange(15, dtype=np.float32).reshape(5, 3)
CONFIG = """
max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [ 3 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ 3 ] } ]
dynamic_batching { }
"""
SUM = """sum (float[N, P, 3] x) => (float[N, 3] y) {
    axes = Constant <value_ints = [1]> ()
    y = ReduceSum <keepdims = 0> (x, axes)
}"""


@pytest.fixture
def opened():
    """A function that opens the model `m` beside others in a folder; all are closed with the test."""
    models = []

    def open_one(folder, engine="native", name="m", **settings):
        models.extend(open_models(find_models([folder.parent])[name], OpeningSettings(engine, **settings)))
        return models[-1]

    yield open_one
    for model in models:
        model.close()


def parameter(name, value):
    return f'parameters {{ key: "{name}" value: {{ string_value: "{value}" }} }}\n'


def test_every_engine_serves_a_repository_behind_the_gate(engine_name, write_model, scale_model, opened):
    model = opened(write_model("m", CONFIG, v1=scale_model(3.0)), engine_name)
    np.testing.assert_allclose(model.instances[0]([X])[0], 3 * X, rtol=1e-6)
    engine = "onnxruntime" if engine_name == "auto" else engine_name
    assert model.spec.facts["engine"].startswith(f"{engine} ")
    assert model.spec.facts["verified"].startswith("yes: agrees with the float64 reference on")
    assert model.spec.batching is not None


def test_reshaped_tensors_pass_through_the_engine(write_model, scale_model, opened):
    config = CONFIG.replace("dims: [ 3 ] } ]\noutput", "dims: [ 1, 3 ] reshape { shape: [ 3 ] } } ]\noutput")
    model = opened(write_model("m", config, v1=scale_model(3.0)))
    assert model.instances[0]([X[:, None]])[0].tolist() == (3 * X).tolist()


def test_model_without_a_configuration_or_batch_is_served(write_model, parse_model, opened):
    whole = parse_model("w (float[3, 2] x) => (float[2, 3] y) { y = Transpose <perm = [1, 0]> (x) }")
    model = opened(write_model("m", None, v1=whole))
    x = np.arange(6, dtype=np.float32).reshape(3, 2)
    assert model.instances[0]([x])[0].tolist() == x.T.tolist()
    assert model.spec.max_batch == 0


def test_engine_that_computes_something_else_is_not_opened(write_model, scale_model, opened, monkeypatch):
    class Skewed(OnnxRuntimeEngine):
        name = "skewed"

        def load(self, model, signature, options):
            run = super().load(model, signature, options).run
            return Runner(lambda arrays: [output * np.float32(1.01) for output in run(arrays)])

    for module in (bundles, onnx_engines):
        monkeypatch.setattr(module, "find_engine", lambda name: Skewed())
    with pytest.raises(ModelError, match=r"skewed cannot serve 'm': .* does not reproduce the output 'y'"):
        opened(write_model("m", CONFIG, v1=scale_model()), "skewed")


def test_free_sizes_are_compiled_ahead_and_others_answered(write_model, parse_model, opened):
    model = opened(write_model("m", None, v1=parse_model(SUM)), dims={"P": (4, 8), "elsewhere": (3,)})
    for particles in (4, 8, 5):
        x = np.random.default_rng(particles).normal(size=(2, particles, 3)).astype(np.float32)
        np.testing.assert_allclose(model.instances[0]([x])[0], x.sum(axis=1), rtol=1e-5, atol=1e-6)
    assert "than P 1 to 128 on onnxruntime" in model.spec.facts["why"]
    assert "P" in model.free_dims


def test_sizes_without_effect_are_told(write_model, parse_model, opened):
    model = opened(write_model("m", None, v1=parse_model(SUM)), "auto", dims={"P": (4,)})
    assert model.spec.facts["ignored"] == "--dims P has no effect: onnxruntime takes events of any size"


def test_null_computes_nothing_and_says_so(write_model, scale_model, opened):
    model = opened(write_model("m", CONFIG, v1=scale_model()), "null")
    assert model.instances[0]([X])[0].tolist() == np.zeros_like(X).tolist()
    assert model.spec.facts["verified"] == "no: the engine null computes nothing"


def test_strings_and_optional_inputs_are_refused_by_name(write_model, parse_model, opened):
    text = parse_model("t (string[N, 3] words) => (string[N, 3] y) { y = Identity (words) }")
    with pytest.raises(ModelError, match=r"native cannot serve 'm': its input 'words' holds strings, which"):
        opened(write_model("m", None, v1=text))
    with_default = parse_model(
        "o (float[N, 3] x, float[3] shift) => (float[N, 3] y) { y = Add (x, shift) }", shift=(3,)
    )
    config = """
input [ { name: "x" data_type: TYPE_FP32 dims: [ -1, 3 ] },
        { name: "shift" data_type: TYPE_FP32 dims: [ 3 ] optional: true } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ -1, 3 ] } ]
"""
    with pytest.raises(ModelError, match=r"native cannot serve 'm': its input 'shift' is optional, which"):
        opened(write_model("m", config, v1=with_default))


def test_model_that_is_too_large_for_the_reference_is_refused(write_model, scale_model, opened, monkeypatch):
    monkeypatch.setattr(onnx_engines, "MAX_VERIFIED_BYTES", 100)
    with pytest.raises(ModelError, match="pack it once with `tamis pack` and serve the bundle"):
        opened(write_model("m", CONFIG, v1=scale_model()))


def test_configured_engine_is_used_and_the_command_line_wins(write_model, scale_model, opened):
    extra = parameter("tamis_engine", "native") + "instance_group [ { count: 3 } ]\n"
    folder = write_model("m", CONFIG + extra, v1=scale_model())
    configured = opened(folder, "auto")
    assert configured.spec.facts["engine"].startswith("native ")
    assert len(configured.instances) == 3
    assert "ignored" not in configured.spec.facts
    overridden = opened(folder, "reference", instances=2)
    assert overridden.spec.facts["engine"].startswith("reference ")
    assert len(overridden.instances) == 2
    assert overridden.spec.facts["ignored"] == (
        "parameters tamis_engine native: overridden by --engine reference; "
        "instance_group: overridden by --instances 2"
    )


def test_exported_bundle_runs_on_its_engine_or_that_of_the_command_line(bundle_of, tmp_path, opened):
    folder = export_triton(bundle_of("dense"), tmp_path, engine="native", threads=2, delay_us=300)
    exported = opened(folder, "auto", name="dense")
    assert exported.spec.facts["engine"].startswith("native ")
    assert exported.spec.batching.delay_ns == 300_000
    assert exported.spec.facts["verified"].startswith("yes: reproduces the golden outputs")
    overridden = opened(folder, "onnxruntime", name="dense", threads=1)
    assert overridden.spec.facts["engine"].startswith("onnxruntime ")
    assert "tamis_engine native: overridden by --engine onnxruntime" in overridden.spec.facts["ignored"]
    assert "tamis_threads 2: overridden by --threads 1" in overridden.spec.facts["ignored"]


def test_settings_of_an_exported_bundle_are_used_or_noted(bundle_of, tmp_path, opened):
    folder = export_triton(bundle_of("dense"), tmp_path)
    text = (folder / "config.pbtxt").read_text()
    warmup = 'model_warmup { name: "zeros" batch_size: 1 }\n'
    changed = text.replace("max_batch_size: 65536", "max_batch_size: 32").replace("16384", "32") + warmup
    (folder / "config.pbtxt").write_text(changed)
    spec = opened(folder, "auto", name="dense").spec
    assert spec.max_batch == 32
    assert spec.facts["ignored"].startswith("model_warmup has no effect: ")
    start = text.index("dynamic_batching {")
    (folder / "config.pbtxt").write_text(text[:start] + text[text.index("}", start) + 1 :])
    assert opened(folder, "auto", name="dense").spec.batching is None


def test_temporary_bundle_is_removed(write_model, scale_model, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    folder = write_model("m", CONFIG, v1=scale_model())
    (model,) = open_models(find_models([folder.parent])["m"], OpeningSettings("native"))
    model.close()
    assert list((tmp_path / "temporary").iterdir()) == []


def test_unknown_parameters_are_noted(write_model, scale_model, opened):
    folder = write_model("m", CONFIG + parameter("enable_mem_area", "1"), v1=scale_model())
    assert opened(folder, "auto").spec.facts["ignored"] == "parameters without effect here: enable_mem_area"
