"""Reading of `config.pbtxt` as sites write it, and the errors for unsupported ones."""

from __future__ import annotations

import numpy as np
import pytest

from tamis._base import ModelError
from tamis.serve.batching import Batching, QueuePolicy
from tamis.serve.models.config_text import parse_config, without_effect
from tamis.serve.models.model import Spec
from tamis.serve.models.triton_config import config_of, resolve_config, versions_of
from tamis.serve.models.warmup import configured_samples

MINIMAL_CONFIG = """
name: "m"
backend: "onnxruntime"
max_batch_size: 16
input [ { name: "x" data_type: TYPE_FP32 dims: [ 3 ] } ]
output [ { name: "y" data_type: TYPE_INT64 dims: [ -1 ] } ]
"""


def read(tmp_path, text):
    return resolve_config(parse_config(text, "config.pbtxt"), "config.pbtxt", tmp_path, "onnxruntime")


def test_queue_settings_are_read(tmp_path):
    resolved = read(
        tmp_path,
        MINIMAL_CONFIG
        + """
dynamic_batching {
  preferred_batch_size: [ 8, 4 ]
  max_queue_delay_microseconds: 100
  priority_levels: 3
  default_priority_level: 2
  default_queue_policy { timeout_action: DELAY default_timeout_microseconds: 50 max_queue_size: 7 }
  priority_queue_policy {
    key: 1
    value { timeout_action: REJECT allow_timeout_override: true max_queue_size: 2 }
  }
}
instance_group [ { kind: KIND_CPU count: 2 }, { kind: KIND_AUTO } ]
parameters { key: "intra_op_thread_count" value { string_value: "3" } }
""",
    )
    other = QueuePolicy(max_requests=7, timeout_ns=50_000, delay_expired=True)
    assert resolved.batching == Batching((4, 8), 100_000, (QueuePolicy(2, 0, True), other, other), 1)
    assert (resolved.instances, resolved.threads, resolved.max_batch) == (3, 3, 16)
    assert resolved.inputs == (Spec("x", "FP32", (3,)),)
    assert resolved.outputs == (Spec("y", "INT64", (-1,)),)


def test_defaults_are_filled_in_as_triton_does(tmp_path):
    resolved = read(tmp_path, MINIMAL_CONFIG)
    assert resolved.batching is None
    assert resolved.config.platform == "onnxruntime_onnx"
    assert resolved.config.default_model_filename == "model.onnx"
    assert resolved.config.version_policy.latest.num_versions == 1
    assert resolved.config.instance_group[0].count == 1


def test_tensors_may_be_reshaped_optional_and_labelled(tmp_path):
    (tmp_path / "labels.txt").write_text("QCD\nTop\n")
    resolved = read(
        tmp_path,
        """
max_batch_size: 4
input { name: "x" data_type: TYPE_STRING dims: [ 1 ] reshape { shape: [ ] } optional: true }
output { name: "p" data_type: TYPE_FP16 dims: [ 2 ] label_filename: "labels.txt" }
""",
    )
    assert resolved.inputs == (Spec("x", "BYTES", (1,), optional=True),)
    assert resolved.inner(resolved.inputs[0]) == ()
    assert resolved.outputs[0].labels == ("QCD", "Top")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "max_batchsize: 3",
            r"line 7, column 1: ModelConfig has no field 'max_batchsize'; did you mean 'max_batch_size'",
        ),
        (
            'input { name: "z" data_type: FP32 }',
            r"line 7, column 30: DataType has no value 'FP32'; did you mean 'TYPE_FP32'",
        ),
        ("dynamic_batching { preferred: [1] }", "ModelDynamicBatching has no field 'preferred'"),
        ("input [ {", "line 7, .*not a well-formed configuration"),
        ("ensemble_scheduling { }", "field ensemble_scheduling: .*one by one"),
        ("sequence_batching { }", "field sequence_batching: "),
        ("model_transaction_policy { decoupled: true }", "field model_transaction_policy.decoupled: "),
        ('batch_input { target_name: "a" }', "field batch_input: "),
        ('model_operations { op_library_filename: "a.so" }', "op_library_filename: "),
        (
            'input { name: "r" data_type: TYPE_FP32 dims: [1] allow_ragged_batch: true }',
            "allow_ragged_batch of input 'r': ",
        ),
        ("instance_group { passive: true }", r"instance_group\[0\].passive"),
        ("instance_group { count: 1000000 }", "at most 256"),
        ('default_model_filename: "../x.onnx"', "must be a plain file name"),
        ('input { name: "x" data_type: TYPE_FP32 dims: [ 1 ] }', "two entries of input have the name 'x'"),
        ('input { name: "w" dims: [ 1 ] }', "data_type of input 'w' is missing"),
        ('input { name: "w" data_type: TYPE_FP32 }', "dims of input 'w' is missing"),
        ('input { name: "w" data_type: TYPE_FP32 dims: [ 0 ] }', "0 is not a size"),
        (
            'input { name: "w" data_type: TYPE_FP32 dims: [ 4 ] reshape { shape: [ 3 ] } }',
            "differs from dims",
        ),
        (
            'output { name: "w" data_type: TYPE_FP32 dims: [ 4 ] label_filename: "../../etc/passwd" }',
            "has to stay within",
        ),
        ("dynamic_batching { preferred_batch_size: [ 32 ] }", "between 1 and max_batch_size, which is 16"),
        ("dynamic_batching { priority_levels: 2 }", "default_priority_level is 0; write a level between 1"),
        (
            "dynamic_batching { priority_levels: 2 default_priority_level: 1 preserve_ordering: true }",
            "contradicts priority_levels",
        ),
        ("dynamic_batching { priority_queue_policy { key: 4 value { } } }", "there is no level 4"),
    ],
)
def test_unsupported_configuration_is_rejected_with_its_location(tmp_path, text, message):
    with pytest.raises(ModelError, match=message) as error:
        read(tmp_path, MINIMAL_CONFIG + text)
    assert str(error.value).startswith("config.pbtxt: ")
    assert "\n" not in str(error.value)


def test_negative_batch_size_is_rejected(tmp_path):
    with pytest.raises(ModelError, match="max_batch_size is -1; write 0"):
        read(tmp_path, MINIMAL_CONFIG.replace("16", "-1"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('backend: "tensorrt"', "field backend: 'tensorrt' is not served here; export the model to ONNX"),
        ('platform: "ensemble"', "serve the models of the ensemble one by one"),
        ('platform: "pytorch_libtorch" backend: "onnxruntime"', "does not match the backend"),
    ],
)
def test_other_backends_are_rejected(text, message):
    with pytest.raises(ModelError, match=message):
        parse_config(text, "config.pbtxt")


def test_fields_without_effect_are_noted(tmp_path):
    resolved = read(
        tmp_path,
        MINIMAL_CONFIG
        + """
optimization { execution_accelerators { gpu_execution_accelerator : [ { name : "tensorrt" } ] } }
instance_group [ { kind: KIND_GPU gpus: [ 0 ] } ]
""",
    )
    notes = resolved.spec("1", {}).facts["ignored"]
    assert "optimization has no effect" in notes
    assert "the model runs on the CPU here" in notes
    assert without_effect(parse_config(MINIMAL_CONFIG, "x")) == []


@pytest.mark.parametrize(
    ("policy", "served"),
    [
        ("", ["10"]),
        ("version_policy { latest { num_versions: 2 } }", ["3", "10"]),
        ("version_policy { all { } }", ["2", "3", "10"]),
        ("version_policy { specific { versions: [ 3, 2 ] } }", ["2", "3"]),
    ],
)
def test_version_policy_selects_the_versions(tmp_path, policy, served):
    for name in ("2", "3", "10", "03", "old", "0"):
        (tmp_path / name).mkdir()
    assert versions_of(parse_config(policy, "config.pbtxt"), tmp_path) == served


def test_missing_version_is_rejected(tmp_path):
    (tmp_path / "1").mkdir()
    with pytest.raises(ModelError, match="there is no folder 4; the versions are 1"):
        versions_of(parse_config("version_policy { specific { versions: 4 } }", "config.pbtxt"), tmp_path)


def config_with_sample(kind: str) -> str:
    value = f'key: "x" value {{ data_type: TYPE_FP32 dims: [ 3 ] {kind} }}'
    return MINIMAL_CONFIG + f'model_warmup {{ name: "w" batch_size: 2 inputs {{ {value} }} }}'


def test_warmup_samples_are_zeros_random_or_files(tmp_path):
    (tmp_path / "warmup").mkdir()
    (tmp_path / "warmup" / "row").write_bytes(np.array([1, 2, 3], np.float32).tobytes())
    arrays = {}
    for kind in ("zero_data: true", "random_data: true", 'input_data_file: "row"'):
        (sample,) = configured_samples(read(tmp_path, config_with_sample(kind)))
        (arrays[kind],) = sample.arrays
        assert arrays[kind].shape == (2, 3)
    zeros, numbers, rows = arrays.values()
    assert not zeros.any()
    assert numbers.std() > 0
    assert rows.tolist() == [[1, 2, 3], [1, 2, 3]]


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ('input_data_file: "../config.pbtxt"', "has to stay within|leads out of"),
        ('input_data_file: "/etc/passwd"', "has to stay within|leads out of"),
        ('input_data_file: "missing"', "cannot read input_data_file 'missing'"),
        ('input_data_file: "short"', "does not match"),
    ],
)
def test_warmup_files_must_be_in_the_warmup_folder(tmp_path, kind, message):
    (tmp_path / "config.pbtxt").write_text("x")
    (tmp_path / "warmup").mkdir()
    (tmp_path / "warmup" / "short").write_bytes(b"1234")
    with pytest.raises(ModelError, match=message):
        configured_samples(read(tmp_path, config_with_sample(kind)))


def test_warmup_file_may_not_link_outside_its_folder(tmp_path):
    (tmp_path / "outside").write_bytes(bytes(12))
    (tmp_path / "m" / "warmup").mkdir(parents=True)
    (tmp_path / "m" / "warmup" / "row").symlink_to(tmp_path / "outside")
    with pytest.raises(ModelError, match="leads out of"):
        configured_samples(read(tmp_path / "m", config_with_sample('input_data_file: "row"')))


def test_served_model_round_trips_through_a_configuration(tmp_path):
    spec = read(tmp_path, MINIMAL_CONFIG + "dynamic_batching { max_queue_delay_microseconds: 5 }").spec(
        "1", {}
    )
    again = resolve_config(config_of(spec), "again", tmp_path, "onnxruntime")
    assert again.spec("1", {}) == spec
