"""`tamis serve --check`, and settings that are refused before the server starts."""

from __future__ import annotations

import json

import onnx
import pytest

SCALE = "s (float[N, P, 3] x) => (float[N, P, 3] y) { y = Neg (x) }"
CONFIG = """
max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 dims: [ -1, 3 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ -1, 3 ] label_filename: "labels.txt" } ]
optimization { graph { level: 1 } }
parameters { key: "tamis_verify" value: { string_value: "false" } }
"""


@pytest.fixture
def repository(tmp_path, parse_model):
    """A repository with a model, whose configuration asks for what is ignored, off or not verified."""
    folder = tmp_path / "models" / "good"
    (folder / "1").mkdir(parents=True)
    onnx.save(parse_model(SCALE), folder / "1" / "model.onnx")
    (folder / "config.pbtxt").write_text(CONFIG)
    return folder.parent


def test_check_shows_how_each_model_is_served(call, repository):
    code, out, err = call("serve", "--check", repository, "facile")
    assert (code, err) == (0, "")
    assert "reproduces the golden outputs" in out
    assert "good 1: not verified: disabled by the parameter tamis_verify" in out
    assert "good 1: ignored: optimization has no effect" in out
    assert "good 1: off: label_filename of output 'y': there is no 'labels.txt'" in out
    assert "facile 1: onnxruntime: facile has no plan for this host" in out


def test_check_fails_with_the_reason_if_a_model_cannot_be_served(call, repository):
    (repository / "bad" / "1").mkdir(parents=True)
    code, out, err = call("serve", "--check", repository)
    assert code == 6
    assert f"bad: there is no model.onnx or model.pt in {repository / 'bad' / '1'}" in out
    assert err.strip() == "tamis: 1 of 2 models cannot be served: bad"


def test_check_as_json(call, repository):
    (repository / "bad" / "1").mkdir(parents=True)
    code, out, _ = call("serve", "--check", "--json", repository)
    document = json.loads(out)
    assert (code, document["ready"]) == (6, False)
    bad, good = document["models"]
    assert (bad["name"], bad["state"], good["name"], good["version"], good["state"]) == (
        "bad",
        "UNAVAILABLE",
        "good",
        "1",
        "READY",
    )
    assert "which is empty" in bad["reason"]
    assert good["facts"]["engine"].startswith("onnxruntime ")
    assert good["facts"]["verified"] == "no: disabled by the parameter tamis_verify"


def test_check_applies_the_engine(call, repository):
    code, out, _ = call("serve", "--check", "--json", repository, "--engine", "native", "--dims", "P=4")
    assert code == 0
    facts = json.loads(out)["models"][0]["facts"]
    assert facts["engine"].startswith("native ")
    assert "P 1 to 128 on onnxruntime" in facts["why"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--engine", "natve"), "did you mean 'native'"),
        (("--engine", "remote"), "--engine remote runs models on other servers"),
        (("--dims", "P=0"), "write NAME=SIZE, NAME=SIZE,SIZE or NAME=FIRST..LAST"),
        (("--dims", "P=1", "--dims", "P=2"), "--dims names P twice"),
        (("--dims", "Q=4"), "--dims Q: no served model has a free dimension 'Q'; known: "),
        (("--json",), "--json prints the outcome of --check: pass both"),
        (("--torch-library", "absent.so"), "'absent.so' does not exist"),
        (("--sequence-idle", "inf"), "--sequence-idle is inf; pass at most 1000000000 seconds"),
        (("--sequence-idle", "nan"), "--sequence-idle is nan; pass at most 1000000000 seconds"),
        (("--sequence-idle", "1e14"), "pass at most 1000000000 seconds"),
        (("--max-sequences", str(1 << 31)), "2147483648 is not in the range 0<=x<=2147483647"),
    ],
)
def test_wrong_settings_end_the_command(call, repository, arguments, message):
    check = () if arguments == ("--json",) else ("--check",)
    code, _, err = call("serve", repository, *check, *arguments)
    assert code == 2
    assert message in err


def test_unknown_dimension_ends_the_server(call, repository):
    ports = ("--grpc", "0", "--http", "0", "--metrics", "0")
    code, _, err = call("serve", repository, "--dims", "Q=4", *ports)
    assert code == 2
    assert "no served model has a free dimension 'Q'" in err


def test_model_named_twice_ends_the_command(call):
    code, _, err = call("serve", "conv-vae", "conv-vae")
    assert code == 2
    assert "is named twice; name it once" in err


def test_empty_folder_has_no_model_to_check(call, tmp_path):
    code, _, err = call("serve", "--check", tmp_path)
    assert code == 2
    assert "the folders hold neither bundles (NAME.tamis) nor Triton models" in err
