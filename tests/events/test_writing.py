from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap

import awkward as ak
import numpy as np
import pytest
import uproot

from tamis._base import DataError, UsageError
from tamis.events import Events, open_writer, read_events, write_events

FORMATS = [".root", ".parquet"]


def read_all(path, **options) -> Events:
    return Events.concatenate([chunk.events for chunk in read_events(path, **options)])


@pytest.mark.parametrize("suffix", FORMATS)
def test_batches_are_read_back_exactly(tmp_path, make_events, same, suffix):
    batches = [make_events(40, first=40 * i) for i in range(5)]
    path = tmp_path / f"events{suffix}"
    with open_writer(path, flush_bytes=20_000) as writer:
        for batch in batches:
            writer.write(batch)
    assert writer.events_written == 200
    assert same(read_all(path), Events.concatenate(batches))


@pytest.mark.parametrize("suffix", FORMATS)
def test_no_events_keep_their_columns(tmp_path, make_events, same, suffix):
    empty = make_events(10).select(slice(0, 0))
    write_events(tmp_path / f"empty{suffix}", empty)
    back = read_all(tmp_path / f"empty{suffix}")
    assert len(back) == 0
    assert same(back, empty)


@pytest.mark.parametrize("suffix", FORMATS)
def test_collections_without_any_object_keep_their_type(tmp_path, make_events, same, suffix):
    events = make_events(50)
    lonely = events.select(ak.num(events["FatJet_pt"]) == 0)
    assert len(lonely) > 3
    write_events(tmp_path / f"lonely{suffix}", lonely)
    assert same(read_all(tmp_path / f"lonely{suffix}"), lonely)


def test_root_files_look_like_nanoaod(tmp_path, make_events):
    events = make_events(30)
    write_events(tmp_path / "events.root", events)
    with uproot.open(tmp_path / "events.root") as file:
        tree = file["Events"]
        counters = {name for name in list(tree.keys()) if name.startswith("n")}
        assert counters == {"nFatJet", "nPFCands", "nLHEPdfWeight"}
        assert tree["FatJet_pt"].count_branch is tree["FatJet_jetId"].count_branch is tree["nFatJet"]
        assert tree["nFatJet"].array().to_list() == ak.num(events["FatJet_pt"]).to_list()
        assert (tree["run"].typename, tree["event"].typename) == ("uint32_t", "uint64_t")


def test_a_counter_that_was_read_is_written_once(tmp_path, make_events, same):
    write_events(tmp_path / "first.root", make_events(20))
    with_counter = read_all(tmp_path / "first.root", columns=["*", "nFatJet"])
    assert "nFatJet" in with_counter
    write_events(tmp_path / "second.root", with_counter)
    assert same(read_all(tmp_path / "second.root"), make_events(20))


def test_a_wrong_counter_is_rejected(tmp_path, make_events):
    wrong = Events(ak.with_field(make_events(5).array, np.full(5, 99), "nFatJet"))
    with pytest.raises(DataError, match="nFatJet does not count the objects of FatJet_pt"):
        write_events(tmp_path / "wrong.root", wrong)


def test_columns_of_one_collection_must_have_the_same_objects(tmp_path, make_events):
    events = make_events(5)
    uneven = Events(ak.with_field(events.array, events["LHEPdfWeight"], "FatJet_weights"))
    with pytest.raises(DataError, match="FatJet_pt and FatJet_weights differ in their number of objects"):
        write_events(tmp_path / "uneven.root", uneven)
    assert not list(tmp_path.iterdir())


def test_types_that_a_tree_cannot_hold_are_rejected_and_parquet_holds_them(tmp_path, make_events, same):
    events = make_events(3)
    nested = Events(ak.with_field(events.array, [[[1.0], []], [], [[2.0, 3.0]]], "Jet_weights"))
    with pytest.raises(DataError, match=r"'Jet_weights' of type var \* var \* float64.*Parquet"):
        write_events(tmp_path / "nested.root", nested)
    write_events(tmp_path / "nested.parquet", nested)
    assert same(read_all(tmp_path / "nested.parquet"), nested)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, make_events, same, suffix):
    path = tmp_path / f"events{suffix}"
    write_events(path, make_events(10))

    def fail() -> None:
        with open_writer(path, flush_bytes=1) as writer:
            writer.write(make_events(99))
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fail()
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    assert same(read_all(path), make_events(10))


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_killed_writer_leaves_no_file_under_the_final_name(tmp_path, suffix):
    path = tmp_path / f"killed{suffix}"
    script = textwrap.dedent(f"""
        import time, numpy as np
        from tamis.events import Events, open_writer
        columns = {{name: np.arange(1000) for name in ("run", "luminosityBlock", "event")}}
        with open_writer({str(path)!r}, flush_bytes=1) as writer:
            writer.write(Events.of(columns))
            print("written", flush=True)
            time.sleep(60)
    """)
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "written\n"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert [file.suffix for file in tmp_path.iterdir()] == [".part"]


def test_a_batch_with_another_schema_is_rejected(tmp_path, make_events):
    events = make_events(4)

    def write(second: Events) -> None:
        with open_writer(tmp_path / "events.root") as writer:
            writer.write(events)
            writer.write(second)

    with pytest.raises(DataError, match="'genWeight' is float64 in a batch, but float32 in the first"):
        write(Events(ak.with_field(events.array, np.zeros(4), "genWeight")))
    with pytest.raises(DataError, match="lacks the column 'MET_pt'"):
        write(Events(ak.without_field(events.array, "MET_pt")))
    with pytest.raises(DataError, match="has the column 'extra'"):
        write(Events(ak.with_field(events.array, np.zeros(4), "extra")))


def test_a_column_without_a_type_is_rejected(tmp_path):
    events = Events.of({"run": [1], "luminosityBlock": [1], "event": [1], "Jet_pt": [[]]})
    with pytest.raises(DataError, match="Jet_pt is empty and has no type"):
        write_events(tmp_path / "events.root", events)


def test_an_unknown_suffix_and_no_batch_are_usage_errors(tmp_path):
    with (
        pytest.raises(UsageError, match=r"events are written as \.root or \.parquet; rename it"),
        open_writer("x.rot"),
    ):
        pass
    with pytest.raises(UsageError, match="nothing was written"), open_writer(tmp_path / "none.root"):
        pass
    assert not list(tmp_path.iterdir())
