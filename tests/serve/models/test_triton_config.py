"""`config.pbtxt` as sites write it: what it says of a model, and what is told where it cannot be served."""

from __future__ import annotations

import numpy as np
import pytest

from tamis._base import ModelError
from tamis.serve.batching import Batching, QueuePolicy
from tamis.serve.models.config_text import parse_config, without_effect
from tamis.serve.models.model import Spec
from tamis.serve.models.triton_config import config_of, understand, versions_of
from tamis.serve.models.warmup import configured_samples

HEAD = """
name: "m"
backend: "onnxruntime"
max_batch_size: 16
input [ { name: "x" data_type: TYPE_FP32 dims: [ 3 ] } ]
output [ { name: "y" data_type: TYPE_INT64 dims: [ -1 ] } ]
"""


def read(tmp_path, text):
    return understand(parse_config(text, "config.pbtxt"), "config.pbtxt", tmp_path, "onnxruntime")


def test_every_word_on_queues_is_heeded(tmp_path):
    found = read(
        tmp_path,
        HEAD
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
    assert found.batching == Batching((4, 8), 100_000, (QueuePolicy(2, 0, True), other, other), 1)
    assert (found.instances, found.threads, found.max_batch) == (3, 3, 16)
    assert found.inputs == (Spec("x", "FP32", (3,)),)
    assert found.outputs == (Spec("y", "INT64", (-1,)),)


def test_defaults_are_written_down_as_triton_answers_them(tmp_path):
    found = read(tmp_path, HEAD)
    assert found.batching is None
    assert found.config.platform == "onnxruntime_onnx"
    assert found.config.default_model_filename == "model.onnx"
    assert found.config.version_policy.latest.num_versions == 1
    assert found.config.instance_group[0].count == 1


def test_tensors_may_be_reshaped_optional_and_labelled(tmp_path):
    (tmp_path / "labels.txt").write_text("QCD\nTop\n")
    found = read(
        tmp_path,
        """
max_batch_size: 4
input { name: "x" data_type: TYPE_STRING dims: [ 1 ] reshape { shape: [ ] } optional: true }
output { name: "p" data_type: TYPE_FP16 dims: [ 2 ] label_filename: "labels.txt" }
""",
    )
    assert found.inputs == (Spec("x", "BYTES", (1,), optional=True),)
    assert found.inner(found.inputs[0]) == ()
    assert found.outputs[0].labels == ("QCD", "Top")


@pytest.mark.parametrize(
    ("text", "told"),
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
        ('default_model_filename: "../x.onnx"', "no plain file name"),
        ('input { name: "x" data_type: TYPE_FP32 dims: [ 1 ] }', "two entries of input are called 'x'"),
        ('input { name: "w" dims: [ 1 ] }', "data_type of input 'w' is missing"),
        ('input { name: "w" data_type: TYPE_FP32 }', "dims of input 'w' is missing"),
        ('input { name: "w" data_type: TYPE_FP32 dims: [ 0 ] }', "0 is no size"),
        (
            'input { name: "w" data_type: TYPE_FP32 dims: [ 4 ] reshape { shape: [ 3 ] } }',
            "not as many elements",
        ),
        (
            'output { name: "w" data_type: TYPE_FP32 dims: [ 4 ] label_filename: "../../etc/passwd" }',
            "no path within",
        ),
        ("dynamic_batching { preferred_batch_size: [ 32 ] }", "between 1 and max_batch_size, which is 16"),
        ("dynamic_batching { priority_levels: 2 }", "default_priority_level is 0; write a level between 1"),
        (
            "dynamic_batching { priority_levels: 2 default_priority_level: 1 preserve_ordering: true }",
            "does not go with priority_levels",
        ),
        ("dynamic_batching { priority_queue_policy { key: 4 value { } } }", "there is no level 4"),
    ],
)
def test_what_cannot_be_served_is_told_in_one_sentence(tmp_path, text, told):
    with pytest.raises(ModelError, match=told) as refused:
        read(tmp_path, HEAD + text)
    assert str(refused.value).startswith("config.pbtxt: ")
    assert "\n" not in str(refused.value)


def test_a_batch_is_no_less_than_none(tmp_path):
    with pytest.raises(ModelError, match="max_batch_size is -1; write 0"):
        read(tmp_path, HEAD.replace("16", "-1"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('backend: "tensorrt"', "field backend: 'tensorrt' is not served here; export the model to ONNX"),
        ('platform: "ensemble"', "serve the models of the ensemble one by one"),
        ('platform: "pytorch_libtorch" backend: "onnxruntime"', "does not go with the backend"),
    ],
)
def test_other_backends_are_named(text, told):
    with pytest.raises(ModelError, match=told):
        parse_config(text, "config.pbtxt")


def test_what_has_no_effect_is_noted(tmp_path):
    found = read(
        tmp_path,
        HEAD
        + """
optimization { execution_accelerators { gpu_execution_accelerator : [ { name : "tensorrt" } ] } }
instance_group [ { kind: KIND_GPU gpus: [ 0 ] } ]
""",
    )
    notes = found.spec("1", {}).facts["notes"]
    assert "optimization has no effect" in notes
    assert "the model runs on the CPU here" in notes
    assert without_effect(parse_config(HEAD, "x")) == []


@pytest.mark.parametrize(
    ("policy", "served"),
    [
        ("", ["10"]),
        ("version_policy { latest { num_versions: 2 } }", ["3", "10"]),
        ("version_policy { all { } }", ["2", "3", "10"]),
        ("version_policy { specific { versions: [ 3, 2 ] } }", ["2", "3"]),
    ],
)
def test_versions_are_those_of_the_policy(tmp_path, policy, served):
    for name in ("2", "3", "10", "03", "old", "0"):
        (tmp_path / name).mkdir()
    assert versions_of(parse_config(policy, "config.pbtxt"), tmp_path) == served


def test_a_version_that_is_not_there_is_told(tmp_path):
    (tmp_path / "1").mkdir()
    with pytest.raises(ModelError, match="there is no folder 4; there are 1"):
        versions_of(parse_config("version_policy { specific { versions: 4 } }", "config.pbtxt"), tmp_path)


def sampled(kind: str) -> str:
    value = f'key: "x" value {{ data_type: TYPE_FP32 dims: [ 3 ] {kind} }}'
    return HEAD + f'model_warmup {{ name: "w" batch_size: 2 inputs {{ {value} }} }}'


def test_samples_are_zeros_numbers_or_files(tmp_path):
    (tmp_path / "warmup").mkdir()
    (tmp_path / "warmup" / "row").write_bytes(np.array([1, 2, 3], np.float32).tobytes())
    arrays = {}
    for kind in ("zero_data: true", "random_data: true", 'input_data_file: "row"'):
        (sample,) = configured_samples(read(tmp_path, sampled(kind)))
        (arrays[kind],) = sample.arrays
        assert arrays[kind].shape == (2, 3)
    zeros, numbers, rows = arrays.values()
    assert not zeros.any()
    assert numbers.std() > 0
    assert rows.tolist() == [[1, 2, 3], [1, 2, 3]]


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ('input_data_file: "../config.pbtxt"', "no path within|leads out of"),
        ('input_data_file: "/etc/passwd"', "no path within|leads out of"),
        ('input_data_file: "missing"', "cannot read input_data_file 'missing'"),
        ('input_data_file: "short"', "does not fit"),
    ],
)
def test_samples_lie_in_the_folder_of_samples_only(tmp_path, kind, told):
    (tmp_path / "config.pbtxt").write_text("x")
    (tmp_path / "warmup").mkdir()
    (tmp_path / "warmup" / "short").write_bytes(b"1234")
    with pytest.raises(ModelError, match=told):
        configured_samples(read(tmp_path, sampled(kind)))


def test_a_link_among_the_samples_leads_nowhere_else(tmp_path):
    (tmp_path / "outside").write_bytes(bytes(12))
    (tmp_path / "m" / "warmup").mkdir(parents=True)
    (tmp_path / "m" / "warmup" / "row").symlink_to(tmp_path / "outside")
    with pytest.raises(ModelError, match="leads out of"):
        configured_samples(read(tmp_path / "m", sampled('input_data_file: "row"')))


def test_what_is_served_can_be_told_as_a_configuration(tmp_path):
    spec = read(tmp_path, HEAD + "dynamic_batching { max_queue_delay_microseconds: 5 }").spec("1", {})
    again = understand(config_of(spec), "again", tmp_path, "onnxruntime")
    assert again.spec("1", {}) == spec
