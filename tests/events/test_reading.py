from __future__ import annotations

import functools
import http.server
import re
import threading
import zipfile
from pathlib import Path

import awkward as ak
import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import uproot

from tamis._base import DataError, MissingColumnError, UnreadableFileError, UsageError
from tamis.events import (
    IDENTITY,
    Events,
    inspect_file,
    open_array_writer,
    read_arrays,
    read_events,
    write_events,
)
from tamis.events.table import layout_bytes


def read_all(paths, **options) -> Events:
    return Events.concatenate([chunk.events for chunk in read_events(paths, **options)])


def write_tree(path, trees, counter="n"):
    with uproot.recreate(path) as file:
        for name, columns in trees.items():
            kinds = {
                k: f"var * {v.layout.content.dtype}" if isinstance(v, ak.Array) else v.dtype
                for k, v in columns.items()
            }
            file.mktree(name, kinds, counter_name=lambda column: counter + column).extend(columns)


@pytest.mark.parametrize("suffix", [".root", ".parquet"])
def test_chunks_are_bounded_cover_the_file_and_join_to_the_whole(tmp_path, make_events, same, suffix):
    path = tmp_path / f"events{suffix}"
    events = make_events(3000)
    write_events(path, events)
    chunks = list(read_events(path, chunk_bytes=100_000))
    assert [chunk.start for chunk in chunks] == [0, *(chunk.stop for chunk in chunks[:-1])]
    assert chunks[-1].stop == 3000
    sizes = [sum(layout_bytes(chunk.events[c.name]) for c in chunk.events.schema) for chunk in chunks]
    assert len(chunks) > 10
    assert max(sizes) < 150_000
    assert same(Events.concatenate([chunk.events for chunk in chunks]), events)


@pytest.mark.parametrize("suffix", [".root", ".parquet"])
def test_only_requested_columns_and_the_identity_are_read(tmp_path, make_events, suffix):
    write_events(tmp_path / f"events{suffix}", make_events(5))
    events = read_all(tmp_path / f"events{suffix}", columns=["FatJet_*", "MET_pt"])
    names = [column.name for column in events.schema]
    assert names[:3] == ["run", "luminosityBlock", "event"]
    assert set(names[3:]) == {"MET_pt", "FatJet_pt", "FatJet_jetId", "FatJet_nBHadrons", "FatJet_tight"}


def test_a_missing_column_is_reported_with_close_matches(tmp_path, make_events):
    path = tmp_path / "events.root"
    write_events(path, make_events(5))
    with pytest.raises(MissingColumnError, match=r"events\.root.*'FatJet_ptt'.*did you mean 'FatJet_pt'"):
        read_all(path, columns=["FatJet_ptt"])
    with pytest.raises(MissingColumnError, match="no column that matches 'Muon_\\*'"):
        read_all(path, columns=["Muon_*"])


def test_globs_are_sorted_and_an_empty_one_suggests_files(tmp_path, make_events):
    for name in ("b", "a", "c"):
        write_events(tmp_path / f"qcd_{name}.root", make_events(ord(name) - 90))
    reader = read_events(tmp_path / "qcd_*.root")
    assert [chunk.file[-6] for chunk in reader] == ["a", "b", "c"]
    assert reader.count() == sum(ord(name) - 90 for name in "abc")
    with pytest.raises(UsageError, match=r"no file matches .*qdc_\*\.root.*did you mean 'qcd_"):
        read_events(tmp_path / "qdc_*.root")
    with pytest.raises(UsageError, match=r"is a folder: give its files, such as .*/\*\.root"):
        read_events(tmp_path)


def test_a_folder_of_hdf5_files_is_read_in_the_order_of_their_names(tmp_path):
    folder = tmp_path / "jets"
    for name in ("b", "a"):
        with open_array_writer(folder / f"{name}.h5") as writer:
            writer.write({"jets": np.full((3, 100, 3), ord(name), np.float32)})
    chunks = list(read_arrays(folder))
    assert [Path(chunk.file).name for chunk in chunks] == ["a.h5", "b.h5"]
    (folder / "notes.txt").touch()
    with pytest.raises(UsageError, match="jets is a folder: give its files"):
        read_arrays(folder)


@pytest.mark.parametrize("suffix", [".root", ".parquet"])
def test_urls_are_read_as_local_files_are(tmp_path, make_events, same, suffix):
    name = f"events{suffix}"
    write_events(tmp_path / name, make_events(50))
    fsspec.filesystem("memory").pipe(f"/tamis/{name}", (tmp_path / name).read_bytes())
    with zipfile.ZipFile(tmp_path / "events.zip", "w") as archive:
        archive.write(tmp_path / name, name)
    urls = [
        f"memory://tamis/{name}",
        f"memory://tamis/*{suffix}",
        f"file://{tmp_path / name}",
        f"zip://{name}::{tmp_path / 'events.zip'}",
    ]
    for url in urls:
        assert same(read_all(url), make_events(50)), url


class RangeHandler(http.server.SimpleHTTPRequestHandler):
    """Adds byte ranges, which storage servers support, to Python's server."""

    def log_message(self, *_args):
        pass

    def do_GET(self):
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted is None:
            return super().do_GET()
        data = Path(self.translate_path(self.path)).read_bytes()
        first, last = int(wanted[1]), min(int(wanted[2] or len(data)), len(data) - 1)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{last}/{len(data)}")
        self.send_header("Content-Length", str(last - first + 1))
        self.end_headers()
        self.wfile.write(data[first : last + 1])
        return None


@pytest.mark.parametrize("suffix", [".root", ".parquet"])
def test_files_are_read_from_a_web_server(tmp_path, make_events, same, suffix):
    pytest.importorskip("aiohttp", reason="http needs the extra tamis[remote]")
    write_events(tmp_path / f"events{suffix}", make_events(50))

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(RangeHandler, directory=tmp_path)
    ) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/events{suffix}"
        assert same(read_all(url), make_events(50))
        server.shutdown()


def test_the_format_is_found_by_content(tmp_path, make_events, same):
    write_events(tmp_path / "events.root", make_events(9))
    (tmp_path / "events.root").rename(tmp_path / "events.parquet")
    assert same(read_all(tmp_path / "events.parquet"), make_events(9))
    (tmp_path / "notes.root").write_text("hello there")
    with pytest.raises(
        UnreadableFileError, match=r"notes\.root has an unknown format: it begins with b'hello th'"
    ):
        read_all(tmp_path / "notes.root")
    (tmp_path / "nothing.root").touch()
    with pytest.raises(UnreadableFileError, match="it is empty"):
        read_all(tmp_path / "nothing.root")
    with pytest.raises(UnreadableFileError, match=r"there is no such file; did you mean 'notes\.root'"):
        read_all(tmp_path / "note.root")


def test_a_physlite_tree_gives_its_own_identity(tmp_path):
    pt = ak.values_astype(ak.Array([[1.0, 2.0], [], [3.0]]), np.float32)
    write_tree(
        tmp_path / "DAOD_PHYSLITE.pool.root",
        {
            "CollectionTree": {
                "EventInfoAuxDyn.runNumber": np.full(3, 410470, np.uint32),
                "EventInfoAuxDyn.lumiBlock": np.array([1, 1, 2], np.uint32),
                "EventInfoAuxDyn.eventNumber": np.array([5, 6, 2**40], np.uint64),
                "AnalysisJetsAuxDyn.pt": pt,
            },
            "MetaData": {"x": np.zeros(1)},
        },
    )
    (chunk,) = read_events(tmp_path / "DAOD_PHYSLITE.pool.root", columns=["AnalysisJetsAuxDyn.*"])
    assert chunk.synthesised == ()
    assert chunk.events.identity.tolist() == [[410470, 1, 5], [410470, 1, 6], [410470, 2, 2**40]]
    assert chunk.events["AnalysisJetsAuxDyn.pt"].to_list() == pt.to_list()


def empty_branch(path, name, entries):
    """Set the number of entries of a branch to 0 in the header of its tree, as ATLAS writes unfilled members."""
    head, mark, rest = path.read_bytes().rpartition(
        bytes([len(name)]) + name.encode() + bytes([len(name) + 2])
    )
    assert mark
    assert rest.count(entries.to_bytes(8, "big")) >= 2  # fEntryNumber and fEntries
    path.write_bytes(head + mark + rest.replace(entries.to_bytes(8, "big"), bytes(8), 2))


def test_an_empty_run_number_branch_is_replaced_and_reported(tmp_path):
    path = tmp_path / "xAOD.root"
    columns = {
        "EventInfoAux.runNumber": np.full(3, 410470, np.uint32),
        "EventInfoAux.eventNumber": np.array([5, 6, 7], np.uint64),
        "pt": np.array([1, 2, 3], np.float32),
    }
    write_tree(path, {"CollectionTree": columns})
    empty_branch(path, "EventInfoAux.runNumber", 3)
    (chunk,) = read_events(path)
    assert chunk.synthesised == ("run", "luminosityBlock")
    assert chunk.events.identity.tolist() == [[0, 1, 5], [0, 1, 6], [0, 1, 7]]
    assert chunk.events["pt"].to_list() == [1, 2, 3]
    (unreadable,) = inspect_file(path).unreadable_columns
    assert (unreadable.name, unreadable.type) == ("EventInfoAux.runNumber", "empty branch: 0 of 3 entries")
    with pytest.raises(MissingColumnError, match="runNumber' cannot be read: empty branch: 0 of 3 entries"):
        list(read_events(path, columns=["EventInfoAux.runNumber"]))


def test_a_column_of_an_unsupported_type_is_reported_and_the_others_are_read(tmp_path, monkeypatch):
    path = tmp_path / "leaves.root"
    with uproot.recreate(path) as file:
        tree = file.mktree("Events", {"x": ("f4", (3,)), "y": "f8"})
        tree.extend({"x": np.zeros((3, 3), np.float32), "y": np.arange(3.0)})
    leaves = uproot.AsDtype(np.dtype([("a", ">i4"), ("b", ">f4", (2,))]))  # which has no awkward type
    plain = uproot.TBranch.interpretation.fget
    monkeypatch.setattr(
        uproot.TBranch,
        "interpretation",
        property(lambda branch: leaves if branch.name == "x" else plain(branch)),
    )
    (chunk,) = read_events(path)
    assert chunk.events.array.fields == [*IDENTITY, "y"]
    (unreadable,) = inspect_file(path).unreadable_columns
    assert (unreadable.name, unreadable.type.split()[:2]) == ("x", ["unsupported", "type"])
    with pytest.raises(MissingColumnError, match=r"column 'x' cannot be read: unsupported type struct"):
        list(read_events(path, columns=["x"]))


@pytest.mark.parametrize("name", ["events", "demo/Events"])
def test_a_tree_called_events_is_the_default(tmp_path, name):
    trees = {"runs": {"x": np.zeros(1)}, name: {"x": np.arange(3.0)}, "lumi": {"x": np.zeros(1)}}
    write_tree(tmp_path / "a.root", trees)
    assert len(read_all(tmp_path / "a.root")) == 3
    assert inspect_file(tmp_path / "a.root").tree == name


def test_a_tree_without_identity_gets_a_generated_one(tmp_path):
    for name in ("a", "b"):
        write_tree(tmp_path / f"{name}.root", {"tree": {"x": np.arange(4.0), "evt": np.arange(4.0)}})
    chunks = list(read_events([tmp_path / "a.root", tmp_path / "b.root"]))
    assert all(chunk.synthesised == ("run", "luminosityBlock", "event") for chunk in chunks)
    everything = np.concatenate([chunk.events.identity for chunk in chunks])
    assert everything.tolist() == [[0, lumi, entry] for lumi in (1, 2) for entry in range(4)]


def test_a_half_identity_is_completed(tmp_path):
    write_tree(
        tmp_path / "a.root",
        {"tree": {"eventNumber": np.array([9, 8], np.int64), "ls": np.array([4, 5], np.int32)}},
    )
    (chunk,) = read_events(tmp_path / "a.root")
    assert chunk.synthesised == ("run",)
    assert chunk.events.identity.tolist() == [[0, 4, 9], [0, 5, 8]]


def test_one_of_several_trees_must_be_chosen(tmp_path):
    write_tree(
        tmp_path / "a.root", {"nominal": {"x": np.arange(2)}, "folder/systematic": {"x": np.arange(3)}}
    )
    with pytest.raises(
        UsageError, match=r"several trees; choose one with --tree .*: nominal, folder/systematic"
    ):
        read_all(tmp_path / "a.root")
    with pytest.raises(UsageError, match="no tree 'nominl'; did you mean 'nominal'"):
        read_all(tmp_path / "a.root", tree="nominl")
    assert len(read_all(tmp_path / "a.root", tree="folder/systematic")) == 3


def test_an_rntuple_reads_as_a_tree_does(tmp_path, make_events, same):
    events = make_events(60)
    with uproot.recreate(tmp_path / "ntuple.root") as file:
        file.mkrntuple("Events", events.array)
    read = read_all(tmp_path / "ntuple.root", chunk_bytes=4000)
    assert same(read, events)


def test_a_collection_of_records_becomes_columns(tmp_path):
    records = ak.Array({"event": [1, 2], "Muon": [[{"pt": 3.0, "charge": 1}], []]})
    with uproot.recreate(tmp_path / "ntuple.root") as file:
        file.mkrntuple("Events", records)
    pq.write_table(ak.to_arrow_table(records, extensionarray=False), tmp_path / "records.parquet")
    for name in ("ntuple.root", "records.parquet"):
        events = read_all(tmp_path / name, columns=["Muon_pt", "Muon_charge"])
        assert events["Muon_pt"].to_list() == [[3.0], []]
        assert events["Muon_charge"].to_list() == [[1], []]


def test_option_types_are_dropped_only_if_nothing_is_missing(tmp_path):
    columns = {
        "event": pa.array([1, 2], pa.uint64()),
        "weight": pa.array([0.5, None], pa.float32()),
        "jets": pa.array([[1.0], [2.0, 3.0]], pa.list_(pa.float32())),
    }
    pq.write_table(pa.table(columns), tmp_path / "other.parquet")
    events = read_all(tmp_path / "other.parquet")
    kinds = {column.name: column.type for column in events.schema}
    assert kinds["event"] == "uint64"
    assert kinds["jets"] == "var * float32"
    assert kinds["weight"] == "float32"
    assert np.isnan(events["weight"][1])


def test_a_range_of_one_huge_row_group_is_streamed(tmp_path, make_events, same):
    events = make_events(5000)
    table = ak.to_arrow_table(events.array, extensionarray=False, list_to32=True)
    pq.write_table(table, tmp_path / "huge.parquet", row_group_size=5000)
    assert same(read_all(tmp_path / "huge.parquet", chunk_bytes=200_000), events)


def test_arrays_are_not_read_as_events(tmp_path):
    np.save(tmp_path / "jets.npy", np.zeros((2, 100, 3)))
    with pytest.raises(UsageError, match="holds arrays rather than events: read it with read_arrays"):
        read_all(tmp_path / "jets.npy")


def test_events_without_identity_or_of_uneven_length_are_rejected():
    with pytest.raises(DataError, match="missing: run, luminosityBlock"):
        Events.of({"event": [1]})
    with pytest.raises(DataError, match="differ in length"):
        Events.of({"run": [1], "luminosityBlock": [1], "event": [1, 2]})


def test_a_missing_event_number_is_reported_with_file_column_and_entry(tmp_path):
    path = tmp_path / "a.parquet"
    run = pa.array([1, 1, None, 1, None], pa.uint32())
    pq.write_table(
        pa.table({"run": run, "luminosityBlock": [1] * 5, "event": range(5), "x": [0.5] * 5}), path
    )
    with pytest.raises(
        DataError, match=r"a.parquet: the column 'run' has no value at entry 2 .*fill in the values"
    ):
        list(read_events(path, columns=["x"], chunk_bytes=1))
    with pytest.raises(DataError, match="'event' has no value at row 1"):
        _ = Events.of({"run": [1, 1], "luminosityBlock": [1, 1], "event": ak.Array([7, None])}).identity


def test_an_unsupported_parquet_type_does_not_affect_other_columns(tmp_path):
    prices = pa.array([1, 2], pa.decimal128(9, 2))
    labels = pa.array([[("a", 1)], []], pa.map_(pa.string(), pa.int64()))
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"event": [5, 6], "x": [0.5, 1.5], "price": prices, "label": labels}), path)
    (chunk,) = read_events(path)
    assert chunk.events["x"].to_list() == [0.5, 1.5]
    assert not {"price", "label"} & set(chunk.events.array.fields)
    with pytest.raises(
        MissingColumnError, match=r"'price' cannot be read: unsupported type decimal128\(9, 2\)"
    ):
        list(read_events(path, columns=["price"]))
