"""Untrusted and damaged bundles: errors that say why, in bounded time; atomic writes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import tamis
from tamis._base import (
    BundleError,
    ChecksumError,
    DocumentError,
    ModelError,
    UnsafeBundleError,
    UsageError,
)
from tamis.bundle import Bundle, pack
from tamis.bundle.model import load_model, parse_model


@pytest.fixture
def copy(bundle_of, tmp_path):
    """Return a copy of a bundle that a test may damage."""
    target = tmp_path / "mine.tamis"
    shutil.copytree(bundle_of("dense").path, target)
    return target


def edit(path, change, *, files=()):
    """Change the manifest, and update the checksums of the given files."""
    manifest = json.loads((path / "manifest.json").read_text())
    for name in files:
        data = (path / name).read_bytes()
        manifest["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    change(manifest)
    (path / "manifest.json").write_text(json.dumps(manifest, indent=2))
    return path


def line_of(path, text):
    lines = (path / "manifest.json").read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


def set_rows(manifest):
    manifest["signature"]["rows"] = "sometimes"


def add_unknown(manifest):
    manifest["workng_points"] = []


def drop_name(manifest):
    del manifest["name"]


def wrong_score(manifest):
    manifest["score"] = "scor"


def wrong_version(manifest):
    manifest["schema_version"] = 2


def wrong_tolerance(manifest):
    manifest["signature"]["outputs"][0]["tolerance"]["relative"] = -1


def no_inputs(manifest):
    manifest["signature"]["inputs"] = []


def scalar_input(manifest):
    manifest["signature"]["inputs"][0]["shape"] = []


def duplicate_input(manifest):
    manifest["signature"]["inputs"] *= 2


def string_type(manifest):
    manifest["signature"]["inputs"][0]["dtype"] = "object"


@pytest.mark.parametrize(
    ("change", "message", "at"),
    [
        (set_rows, "field signature.rows", '"rows"'),
        (add_unknown, "field workng_points.*unknown field; did you mean 'working_points'", "workng"),
        (drop_name, "field name.*is missing", None),
        (wrong_score, "the score 'scor' is not an output; outputs: score", None),
        (wrong_version, "field schema_version.*not 2", '"schema_version"'),
        (wrong_tolerance, "field signature.outputs.0.tolerance.relative.*not -1", '"relative"'),
        (no_inputs, "field signature.inputs", '"inputs"'),
        (scalar_input, "field signature.*'x' has no dimensions", '"signature"'),
        (duplicate_input, "field signature.*two inputs or two outputs are called 'x'", '"signature"'),
        (string_type, "field signature.inputs.0.dtype", '"dtype"'),
    ],
)
def test_a_manifest_error_gives_field_and_line(copy, change, message, at):
    edit(copy, change)
    with pytest.raises(DocumentError, match=message) as error:
        Bundle.open(copy)
    if at:
        assert f"(line {line_of(copy, at)}, column " in str(error.value)


def test_a_manifest_syntax_error_gives_the_line(copy):
    (copy / "manifest.json").write_text('{\n "name": "x",\n "version": }\n')
    with pytest.raises(DocumentError, match=r"line 3, column 13: not a well-formed document"):
        Bundle.open(copy)


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(12)
)


@pytest.mark.parametrize(
    "text",
    [
        BOMB,
        "[" * 2_000_000,
        '{"a":' * 100_000 + "1" + "}" * 100_000,
        "{" * 9_000_000,
        "- " * 400_000,
        '{"name": "' + "x" * 9_000_000 + '"}',
        '{"name": ' + "9" * 5_000_000 + "}",
        "\x00" * 1000,
    ],
    ids=["aliases", "lists", "objects", "braces", "yaml", "long-name", "long-number", "zeros"],
)
def test_a_hostile_manifest_is_rejected_in_bounded_time_with_a_short_message(copy, text):
    (copy / "manifest.json").write_text(text)
    with pytest.raises(DocumentError) as error:
        Bundle.open(copy)
    assert len(str(error.value)) < 2000


def test_a_manifest_above_the_size_limit_is_not_read(copy):
    (copy / "manifest.json").write_text(" " * 10_000_001)
    with pytest.raises(UnsafeBundleError, match=r"larger than 10.0 MB"):
        Bundle.open(copy)


def test_a_manifest_that_is_not_utf_8_is_reported(copy):
    (copy / "manifest.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(BundleError, match="cannot read"):
        Bundle.open(copy)


@pytest.mark.parametrize("name", ["model.onnx", "golden.safetensors"])
def test_a_changed_file_is_reported(copy, name):
    data = bytearray((copy / name).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / name).write_bytes(bytes(data))
    with pytest.raises(ChecksumError, match=f"{name} is not the file that was packed"):
        Bundle.open(copy)


def test_a_file_that_changes_after_opening_is_reported(copy):
    bundle = Bundle.open(copy)
    (copy / "model.onnx").write_bytes(b"something else")
    with pytest.raises(ChecksumError, match="was changed while it was open"):
        tamis.open(bundle)


@pytest.mark.parametrize("name", ["model.onnx", "manifest.json"])
def test_symbolic_links_are_rejected(copy, tmp_path, name):
    shutil.move(copy / name, tmp_path / "elsewhere")
    (copy / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnsafeBundleError, match=f"{name} is a symbolic link"):
        Bundle.open(copy)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/b", "..", ".hidden", "a\\b", "", " x"])
def test_a_file_name_that_points_outside_the_bundle_is_rejected(copy, name):
    entry = {"sha256": "0" * 64, "bytes": 0}
    edit(copy, lambda manifest: manifest["files"].update({name: entry}))
    with pytest.raises(DocumentError, match=r"field files.*is hidden or points outside the bundle"):
        Bundle.open(copy)


@pytest.mark.parametrize("name", ["model.onnx", "golden.safetensors"])
def test_a_missing_file_is_reported(copy, name):
    (copy / name).unlink()
    with pytest.raises(
        BundleError, match=f"the file {name} of the bundle .* is missing; copy the bundle again"
    ):
        Bundle.open(copy)
    edit(copy, lambda manifest: manifest["files"].pop(name))
    with pytest.raises(BundleError, match=f"field files: {name} is missing"):
        Bundle.open(copy)


def test_an_oversized_file_is_rejected_before_it_is_read(copy):
    with (copy / "model.onnx").open("r+b") as handle:
        handle.truncate(2_000_000_000)  # sparse: uses no disk space
    with pytest.raises(UnsafeBundleError, match=r"the limit is 1.9 GB"):
        Bundle.open(copy)


@pytest.mark.parametrize("length", [0, 4, 20, 300])
def test_truncated_golden_events_are_reported(copy, length):
    file = copy / "golden.safetensors"
    file.write_bytes(file.read_bytes()[:length])
    edit(copy, lambda manifest: None, files=["golden.safetensors"])
    with pytest.raises(BundleError, match=r"golden.safetensors is not a safetensors file"):
        tamis.open(copy)


def test_golden_events_that_cannot_verify_anything_are_rejected(copy, bundle_of):
    from tamis.bundle import Golden

    golden = bundle_of("dense").golden
    for inputs, outputs, message in (
        ({"x": golden.inputs["x"][:0]}, {"score": golden.outputs["score"][:0]}, "holds no golden events"),
        (golden.inputs, {}, "holds golden outputs"),
        (
            golden.inputs,
            {"score": golden.outputs["score"][:3]},
            r"golden output 'score' has the shape \(3, 1\)",
        ),
        ({"x": golden.inputs["x"][:, :3]}, golden.outputs, "does not fit the manifest"),
    ):
        (copy / "golden.safetensors").write_bytes(Golden(inputs, outputs).to_bytes())
        edit(copy, lambda manifest: None, files=["golden.safetensors"])
        with pytest.raises(BundleError, match=message):
            tamis.open(copy)


def external(name="secret"):
    tensor = TensorProto(
        name=name, data_type=TensorProto.FLOAT, dims=[8, 12], data_location=TensorProto.EXTERNAL
    )
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return tensor


def in_initializer(model):
    model.graph.initializer[0].CopyFrom(external(model.graph.initializer[0].name))


def in_attribute(model):
    model.graph.node.append(helper.make_node("Constant", [], ["unused"], value=external()))


def in_mislabelled_attribute(model):
    node = helper.make_node("Identity", ["x"], ["unused"])
    node.attribute.add(name="hidden", type=onnx.AttributeProto.INT).t.CopyFrom(external())
    model.graph.node.append(node)


def in_subgraph(model):
    body = helper.make_graph([], "body", [], [], [external()])
    node = helper.make_node("If", ["x"], ["unused"], then_branch=body, else_branch=body)
    model.graph.node.append(node)


def in_function(model):
    body = helper.make_graph([], "body", [], [], [external()])
    node = helper.make_node("If", ["x"], ["y"], then_branch=body, else_branch=body)
    model.functions.append(
        helper.make_function("mine", "F", ["x"], ["y"], [node], [helper.make_opsetid("", 17)])
    )


def in_sparse(model):
    sparse = model.graph.sparse_initializer.add()
    sparse.values.CopyFrom(external())


def in_training(model):
    model.training_info.add().initialization.initializer.append(external())


@pytest.mark.parametrize(
    "hide",
    [
        in_initializer,
        in_attribute,
        in_mislabelled_attribute,
        in_subgraph,
        in_function,
        in_sparse,
        in_training,
    ],
)
def test_external_data_is_rejected_anywhere_in_the_model(copy, hide, engine_name, tmp_path):
    model = onnx.load(copy / "model.onnx")
    hide(model)
    (copy / "model.onnx").write_bytes(model.SerializeToString())
    edit(copy, lambda manifest: None, files=["model.onnx"])
    with pytest.raises(
        UnsafeBundleError, match=r"in another file \('../../etc/passwd'\).*inlines external data"
    ):
        tamis.open(copy, engine_name)
    with pytest.raises(UnsafeBundleError):
        pack(copy / "model.onnx", tmp_path / "out.tamis")


def test_external_data_in_the_same_folder_is_inlined(bundle_of, tmp_path):
    bundle = bundle_of("dense")
    model = onnx.load_model_from_string(bundle.model_bytes)
    path = tmp_path / "large.onnx"
    onnx.save(model, path, save_as_external_data=True, location="large.data", size_threshold=0)
    packed = pack(path, tmp_path / "large.tamis", inputs=bundle.golden.inputs).bundle
    with tamis.open(packed) as session, tamis.open(bundle) as other:
        x = bundle.golden.inputs["x"]
        np.testing.assert_array_equal(session(x), other(x))
    (tmp_path / "large.data").write_bytes((tmp_path / "large.data").read_bytes()[:100])
    with pytest.raises(
        ModelError, match=r"should be \d+ bytes at offset \d+ of large.data.*copy the file again"
    ):
        pack(path, tmp_path / "short.tamis")
    (tmp_path / "large.data").rename(tmp_path / "elsewhere")
    (tmp_path / "large.data").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnsafeBundleError, match=r"in another file \('large.data'\) outside its folder"):
        pack(path, tmp_path / "linked.tamis")


def test_paths_that_are_not_bundles_are_reported(tmp_path, bundle_of):
    with pytest.raises(
        BundleError, match=r"is not a bundle: it has no manifest.json; create one with `tamis pack`"
    ):
        Bundle.open(tmp_path)
    (tmp_path / "m.onnx").write_bytes(b"x")
    with pytest.raises(BundleError, match="is a file, but a bundle is a directory; `tamis pack"):
        Bundle.open(tmp_path / "m.onnx")
    with pytest.raises(BundleError, match="no bundle 'conv-vea'; did you mean 'conv-vae'"):
        Bundle.open("conv-vea")
    similar = bundle_of("dense").path
    with pytest.raises(BundleError, match=rf"did you mean '{similar.name}'"):
        Bundle.open(similar.with_name("dens.tamis"))


def test_text_files_of_a_bundle(bundle_of):
    bundle = bundle_of("dense")
    assert bundle.card == ""
    with pytest.raises(UsageError, match=r"has no file 'CARD.md'"):
        bundle.text("CARD.md")
    assert bundle.parameters == {"other": 8 * 12 + 8 + 8}


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"\x80\x04" * 30, b"<html>" * 50, b"\x08\x07" + b"\xff" * 40]
)
def test_bytes_that_are_not_a_model_are_reported(data):
    with pytest.raises(ModelError, match=r"here is not an? (valid )?ONNX model"):
        parse_model(data, "here")


def test_a_missing_model_file_is_reported(tmp_path):
    with pytest.raises(UsageError, match="cannot read the model"):
        load_model(tmp_path / "absent.onnx")


def test_a_target_that_is_not_a_bundle_is_not_overwritten(tmp_path, parse_model):
    model = parse_model("m (float[N, 3] x) => (float[N, 3] y) { y = Relu (x) }")
    (tmp_path / "thesis.txt").write_text("five years")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "data").write_text("precious")
    (tmp_path / "link.tamis").symlink_to(tmp_path / "folder")
    for name in ("thesis.txt", "folder", "link.tamis"):
        with pytest.raises(UsageError, match="exists and is not a bundle"):
            pack(model, tmp_path / name)
    assert (tmp_path / "thesis.txt").read_text() == "five years"
    assert (tmp_path / "folder" / "data").read_text() == "precious"
    pack(model, tmp_path / "m.tamis")
    pack(model, tmp_path / "m.tamis", description="again")
    assert Bundle.open(tmp_path / "m.tamis").manifest.description == "again"
    assert not [p for p in tmp_path.iterdir() if ".part" in p.name or ".old" in p.name]


KILLED = """
import os, signal, sys
from pathlib import Path
from tamis.bundle import Bundle, store, write_bundle
bundle = Bundle.open(sys.argv[1])
original = store.sha256
def die(path):
    os.kill(os.getpid(), signal.SIGKILL)
store.sha256 = die
write_bundle(Path(sys.argv[2]), bundle.manifest, bundle.model_bytes, bundle.golden)
"""


def test_a_killed_writer_leaves_no_partial_bundle(copy, tmp_path):
    target = tmp_path / "new.tamis"
    for path in (target, copy):
        before = sorted(p.name for p in copy.iterdir())
        finished = subprocess.run([sys.executable, "-c", KILLED, copy, path], check=False, env=os.environ)
        assert finished.returncode == -signal.SIGKILL
        assert sorted(p.name for p in copy.iterdir()) == before
    assert not target.exists()
    Bundle.open(copy)
