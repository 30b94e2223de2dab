"""The rows to compress on: arrays by name, labels, folders, classes, and what is wrong with others."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from tamis._base import DataError, UsageError
from tamis.bundle import Bundle
from tamis.compress import CompressOptions, compress
from tamis.compress.data import read_rows
from tamis.events import Events, write_events
from tamis.measure import verify
from tamis.simulate import simulate


def write(path, seed=0, rows=120, **more):
    x = np.random.default_rng(seed).normal(size=(rows, 16)).astype(np.float32)
    with h5py.File(path, "w") as file:
        for name, value in {"x": x, **more}.items():
            file[name] = value
    return x


def test_arrays_of_a_folder_are_joined_with_their_labels(tagger, tmp_path):
    label = np.arange(120) % 5
    first, second = (write(tmp_path / f"{seed}.h5", seed, label=label) for seed in (1, 2))
    rows = read_rows(tagger, [str(tmp_path)], {}, CompressOptions())
    np.testing.assert_array_equal(rows.inputs["x"], np.concatenate([first, second]))
    np.testing.assert_array_equal(rows.labels.label, np.concatenate([label, label]))
    assert rows.labels.classes == tuple("gqWZt")
    assert rows.labels.background == (0,)


def test_rows_are_split_without_overlap(tagger, tmp_path):
    write(tmp_path / "x.h5", rows=400)
    parts = read_rows(tagger, [str(tmp_path / "x.h5")], {}, CompressOptions()).split(seed=1)
    assert [len(part) for part in parts] == [280, 60, 60]
    assert len(np.unique(np.concatenate([part.event for part in parts]))) == 400


def test_files_of_classes_give_labels(tagger, tmp_path):
    for number, name in enumerate("gqWZt"):
        write(tmp_path / f"{name}.h5", number, rows=30 + number)
    classes = {name: [str(tmp_path / f"{name}.h5")] for name in "tZWqg"}  # in any order
    rows = read_rows(tagger, [], classes, CompressOptions())
    np.testing.assert_array_equal(np.bincount(rows.labels.label), [30, 31, 32, 33, 34])
    with pytest.raises(UsageError, match="give --class t=FILE as well"):
        read_rows(tagger, [], {name: classes[name] for name in "gqWZ"}, CompressOptions())
    with pytest.raises(UsageError, match="has no class 'h'"):
        read_rows(tagger, [], {**classes, "h": ["x"]}, CompressOptions())


def test_other_rows_are_explained(tagger, tmp_path):
    write(tmp_path / "few.h5", rows=20)
    with pytest.raises(DataError, match="20 rows are too few"):
        read_rows(tagger, [str(tmp_path / "few.h5")], {}, CompressOptions())
    np.savez(tmp_path / "other.npz", y=np.zeros((200, 3), np.float32))
    with pytest.raises(DataError, match="has no array 'x'"):
        read_rows(tagger, [str(tmp_path / "other.npz")], {}, CompressOptions())
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no files"):
        read_rows(tagger, [str(tmp_path / "empty")], {}, CompressOptions())
    with pytest.raises(UsageError, match="either as --data FILE or by class"):
        read_rows(tagger, [], {}, CompressOptions())
    x = np.zeros((200, 16), np.float32)
    x[7] = np.nan
    np.savez(tmp_path / "nan.npz", x=x)
    with pytest.raises(DataError, match="NaN or infinity in row 7"):
        read_rows(tagger, [str(tmp_path / "nan.npz")], {}, CompressOptions())


@pytest.mark.slow
def test_events_are_read_through_the_features_of_the_bundle(tmp_path):
    pytest.importorskip("pythia8mc")
    events = tmp_path / "qcd.root"
    write_events(events, Events.concatenate(simulate("qcd", 120, seed=3)))
    bundle = Bundle.open("conv-vae")
    rows = read_rows(bundle, [str(events)], {}, CompressOptions())
    assert rows.inputs["jets"].shape[1:] == (100, 3)
    assert rows.labels is None
    assert len(np.unique(rows.event)) < len(rows)  # two jets of one event stay together
    made = compress(bundle, tmp_path / "small.tamis", [str(events)], CompressOptions(inputs=12, epochs=0))
    for engine in ("onnxruntime", "native"):
        assert verify(made.bundle, engine).passed
    assert "flips(background-0.01)" in made.figures
