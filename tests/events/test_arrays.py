from __future__ import annotations

import fsspec
import h5py
import numpy as np
import pytest

from tamis._base import DataError, UsageError
from tamis.events import inspect_file, read_arrays

JETS = np.random.default_rng(1).normal(size=(500, 100, 3)).astype(np.float32)


def write(path, **datasets):
    with h5py.File(path, "w") as file:
        for name, array in datasets.items():
            file.create_dataset(name.replace("__", "/"), data=array)
    return path


def join(reader):
    return np.concatenate([chunk.array for chunk in reader])


def test_the_only_dataset_of_the_right_shape_is_read_in_bounded_chunks(tmp_path):
    path = write(tmp_path / "jets.h5", data__jets=JETS, labels=np.zeros(500))
    chunks = list(read_arrays(path, chunk_bytes=100_000))
    assert len(chunks) > 5
    assert max(chunk.array.nbytes for chunk in chunks) <= 100_000
    assert {chunk.dataset for chunk in chunks} == {"data/jets"}
    assert np.array_equal(np.concatenate([chunk.array for chunk in chunks]), JETS)
    assert read_arrays(path).count() == 500


def test_a_dataset_is_chosen_by_name_with_close_matches(tmp_path):
    path = write(tmp_path / "jets.h5", background=JETS, signal=JETS + 1)
    with pytest.raises(UsageError, match=r"several datasets of shape .*background, signal"):
        join(read_arrays(path))
    assert np.array_equal(join(read_arrays(path, dataset="signal")), JETS + 1)
    with pytest.raises(DataError, match="no dataset 'signl'; did you mean 'signal'"):
        join(read_arrays(path, dataset="signl"))


def test_without_a_dataset_of_the_right_shape_all_are_listed(tmp_path):
    path = write(tmp_path / "other.h5", images=np.zeros((4, 28, 28)))
    with pytest.raises(
        DataError, match=r"no dataset of shape \(rows, 100, 3\); it contains images \(4, 28, 28\)"
    ):
        join(read_arrays(path))
    assert join(read_arrays(path, shape=(28, 28))).shape == (4, 28, 28)


def test_an_empty_dataset_gives_one_empty_chunk(tmp_path):
    (chunk,) = read_arrays(write(tmp_path / "none.h5", jets=JETS[:0]))
    assert chunk.array.shape == (0, 100, 3)


def test_numpy_files_and_urls_are_read(tmp_path):
    np.save(tmp_path / "jets.npy", JETS)
    np.savez(tmp_path / "jets.npz", jets=JETS, other=np.zeros(3))
    write(tmp_path / "jets.h5", jets=JETS)
    for suffix in ("npy", "npz", "h5"):
        path = tmp_path / f"jets.{suffix}"
        assert np.array_equal(join(read_arrays(path, chunk_bytes=99_999)), JETS)
        fsspec.filesystem("memory").pipe(f"/arrays/jets.{suffix}", path.read_bytes())
        assert np.array_equal(join(read_arrays(f"memory://arrays/jets.{suffix}")), JETS)


def test_a_pickle_is_not_opened(tmp_path):
    np.save(tmp_path / "evil.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"evil\.npy has Python objects \(a pickle\)"):
        join(read_arrays(tmp_path / "evil.npy"))


def test_events_are_not_read_as_arrays(tmp_path, make_events):
    from tamis.events import write_events

    write_events(tmp_path / "events.root", make_events(3))
    with pytest.raises(UsageError, match=r"is a .* file of events; arrays are expected"):
        join(read_arrays(tmp_path / "events.root"))


def test_a_pickle_beside_an_array_leaves_the_array_readable(tmp_path):
    np.savez(
        tmp_path / "a.npz", jets=JETS[:5], names=np.array([{"a": 1}], dtype=object), kinds=np.array(["x"])
    )
    assert np.array_equal(join(read_arrays(tmp_path / "a.npz")), JETS[:5])
    with pytest.raises(DataError, match=r"dataset 'names' is Python objects .*only plain numbers"):
        join(read_arrays(tmp_path / "a.npz", dataset="names"))
    listed = inspect_file(tmp_path / "a.npz")
    assert [column.name for column in listed.unreadable_columns] == ["names", "kinds"]


def test_tables_and_links_of_hdf5_are_reported(tmp_path):
    table = np.zeros(10, [("eta", "f4"), ("phi", "f4")])
    path = write(tmp_path / "table.h5", jets=table)
    with pytest.raises(
        DataError, match=r"it contains jets \(a table \(10,\) of the fields eta, phi\).*plain numbers"
    ):
        join(read_arrays(path))
    with h5py.File(tmp_path / "link.h5", "w") as file:
        file["jets"] = h5py.ExternalLink("there.h5", "/data")
    with pytest.raises(DataError, match=r"jets \(a link into another file: read there.h5 instead\)"):
        join(read_arrays(tmp_path / "link.h5"))


def test_a_name_in_the_shape_means_any_size(tmp_path):
    path = write(
        tmp_path / "a.h5", series=np.ones((7, 15, 6)), flat=np.ones((7, 6)), square=np.ones((7, 4, 4))
    )
    assert next(iter(read_arrays(path, shape=("t", 6)))).dataset == "series"
    assert next(iter(read_arrays(path, shape=("t", "t")))).dataset == "square"
    with pytest.raises(
        DataError, match=r"no dataset of shape \(rows, t, 5\); it contains .*series \(7, 15, 6\)"
    ):
        join(read_arrays(path, shape=("t", 5)))
