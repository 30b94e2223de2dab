"""Models that are missing, misplaced or named twice are reported by path, with what to do."""

from __future__ import annotations

import shutil

import pytest

from tamis._base import BundleError, ModelError, TamisError, UsageError
from tamis.serve.models.folders import find_models
from tamis.serve.models.model import OpeningSettings
from tamis.serve.models.opening import open_models


def problem_of(repository, name="m"):
    with pytest.raises(TamisError) as caught:
        open_models(find_models([repository])[name], OpeningSettings())
    return str(caught.value)


@pytest.fixture
def model(tmp_path):
    """The folder of a model, without a version."""
    folder = tmp_path / "models" / "m"
    folder.mkdir(parents=True)
    return folder


def test_missing_model_file_is_told_by_path(model):
    (model / "config.pbtxt").write_text('backend: "onnxruntime"')
    (model / "1").mkdir()
    expected = f"there is no file {model / '1' / 'model.onnx'}; copy it there, or set default_model_filename"
    assert problem_of(model.parent) == expected
    (model / "1" / "modle.onnx").write_bytes(b"")
    assert "did you mean 'modle.onnx'?" in problem_of(model.parent)


def test_version_without_a_model_is_told_by_path(model):
    (model / "1").mkdir()
    assert f"there is no model.onnx or model.pt in {model / '1'}, which is empty; copy" in problem_of(
        model.parent
    )
    (model / "1" / "model.plan").write_bytes(b"")
    assert "which has model.plan; copy" in problem_of(model.parent)


def test_folder_without_a_version_is_told_by_path(model):
    expected = f"{model} has no version; put the model into {model / '1' / 'model.onnx'}"
    assert problem_of(model.parent) == expected
    (model / "config.pbtxt").write_text("max_batch_size: 1")
    assert problem_of(model.parent) == expected


@pytest.mark.parametrize(("file", "target"), [("tagger.onnx", "model.onnx"), ("model.pt", "model.pt")])
def test_file_outside_a_version_is_told_where_it_belongs(model, file, target):
    (model / file).write_bytes(b"")
    assert (
        problem_of(model.parent) == f"{model} has no version; move {model / file} to {model / '1' / target}"
    )


def test_folder_whose_name_is_no_version_is_told_where_its_file_belongs(model):
    (model / "v1").mkdir()
    (model / "v1" / "model.onnx").write_bytes(b"")
    assert problem_of(model.parent).endswith(
        f"move {model / 'v1' / 'model.onnx'} to {model / '1' / 'model.onnx'}"
    )


def test_bundle_without_a_manifest_is_told(model):
    (model.parent / "m.tamis").mkdir()
    (model.parent / "m.tamis" / "model.onnx").write_bytes(b"")
    assert "m.tamis has no manifest.json, so it is not a whole bundle" in problem_of(model.parent, "m.tamis")


def test_broken_link_is_told(model):
    (model / "1").mkdir()
    (model / "1" / "model.onnx").symlink_to(model / "1" / "absent.onnx")
    assert f"there is no file {model / '1' / 'model.onnx'}" in problem_of(model.parent)


def test_name_of_the_file_that_tells_no_backend(model):
    (model / "config.pbtxt").write_text('default_model_filename: "weights.bin"')
    (model / "1").mkdir()
    assert "the file name 'weights.bin' does not tell it" in problem_of(model.parent)


def test_file_beside_the_folders_of_models_is_told_where_it_belongs(tmp_path):
    (tmp_path / "tagger.onnx").write_bytes(b"")
    target = tmp_path / "tagger" / "1" / "model.onnx"
    with pytest.raises(UsageError, match=rf"move tagger\.onnx to {target}, or pack it with `tamis pack`"):
        find_models([tmp_path])


def test_other_folders_are_not_models(tmp_path):
    (tmp_path / "models" / "notes").mkdir(parents=True)
    for name in ("readme.txt", "epoch7.pt"):
        (tmp_path / "models" / "notes" / name).write_text("hello")
    assert find_models([tmp_path / "models"]) == {}


def test_model_named_twice_is_refused(tmp_path, bundle_of, model):
    with pytest.raises(UsageError, match=r"the model 'conv-vae' \(.*\) is named twice; name it once"):
        find_models(["conv-vae", "facile", "conv-vae"])
    (model / "1").mkdir()
    with pytest.raises(UsageError, match=r"the model 'm' .* is named twice"):
        find_models([model.parent, tmp_path / "models" / ".." / "models"])
    with pytest.raises(UsageError, match="is named twice"):
        find_models([bundle_of("dense").path.parent, bundle_of("dense").path])


def test_two_models_of_one_name_are_told_with_both_paths(tmp_path, model):
    (model / "1").mkdir()
    shutil.copytree(model, tmp_path / "others" / "m")
    found = find_models([model.parent, tmp_path / "others"])["m"]
    assert found.problem == f"{model} and {tmp_path / 'others' / 'm'} have the same name 'm': rename one"
    with pytest.raises(ModelError, match="have the same name"):
        open_models(found, OpeningSettings())


def test_file_instead_of_a_folder_is_told_what_to_do(tmp_path):
    (tmp_path / "tagger.onnx").write_bytes(b"")
    with pytest.raises(BundleError, match="is a file, but a bundle is a directory; `tamis pack"):
        find_models([tmp_path / "tagger.onnx"])
