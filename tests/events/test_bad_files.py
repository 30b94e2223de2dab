from __future__ import annotations

import http.server
import importlib.util
import random
import threading

import h5py
import numpy as np
import pytest
import uproot

from tamis._base import MissingExtraError, SkippedFilesError, TamisError, UnreadableFileError
from tamis.events import Events, open_writer, read_arrays, read_events

EVENTS = 1200
SUFFIXES = [".root", ".rntuple.root", ".parquet"]


@pytest.fixture
def write_in_baskets(make_events):
    """Write 1200 events in baskets, clusters or row groups of 150."""

    def write(path) -> Events:
        batches = [make_events(150, first=150 * i) for i in range(8)]
        if path.name.endswith(".rntuple.root"):
            with uproot.recreate(path) as file:
                ntuple = file.mkrntuple("Events", batches[0].array)
                for batch in batches[1:]:
                    ntuple.extend(batch.array)
        else:
            with open_writer(path, flush_bytes=1) as writer:
                for batch in batches:
                    writer.write(batch)
        return Events.concatenate(batches)

    return write


def read_count(path) -> int:
    return sum(len(chunk.events) for chunk in read_events(path, chunk_bytes=100_000))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_truncated_anywhere_is_reported(tmp_path, write_in_baskets, suffix):
    path = tmp_path / f"events{suffix}"
    write_in_baskets(path)
    whole = path.read_bytes()
    dice = random.Random(5)
    for length in [0, 3, 60, *(dice.randrange(len(whole) - 100) for _ in range(12))]:
        path.write_bytes(whole[:length])
        with pytest.raises(
            UnreadableFileError, match=r"events[.a-z]* (cannot be read|has an unknown format)"
        ) as raised:
            read_count(path)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_flipped_bytes_never_lose_events_silently(tmp_path, write_in_baskets, suffix):
    path = tmp_path / f"events{suffix}"
    write_in_baskets(path)
    whole = path.read_bytes()
    dice = random.Random(6)
    reported = 0
    for _ in range(30):
        damaged = bytearray(whole)
        for _ in range(dice.choice([1, 20])):
            # half of the damage is at both ends of the file, where these formats have their headers
            ends = [dice.randrange(600), len(whole) - 1 - dice.randrange(3000)]
            damaged[dice.choice([*ends, dice.randrange(len(whole)), dice.randrange(len(whole))])] ^= (
                dice.randrange(1, 256)
            )
        path.write_bytes(damaged)
        try:
            assert read_count(path) == EVENTS
        except TamisError:
            reported += 1
    assert reported > 10


def test_a_corrupt_basket_reports_its_entry_and_the_events_before_it_are_read(
    tmp_path, write_in_baskets, same
):
    path = tmp_path / "events.root"
    events = write_in_baskets(path)
    with uproot.open(path) as file:
        place = int(file["Events"]["PFCands_pt"].member("fBasketSeek")[4])
    damaged = bytearray(path.read_bytes())
    for offset in range(200, 260):
        damaged[place + offset] ^= 0x55
    path.write_bytes(damaged)
    chunks = []

    def read() -> None:
        for chunk in read_events(path):
            chunks.append(chunk)  # noqa: PERF402 - the chunks before the error are needed

    with pytest.raises(
        UnreadableFileError, match=r"events\.root cannot be read past entry 600 of 1200: .*corrupt"
    ):
        read()
    assert same(Events.concatenate([chunk.events for chunk in chunks]), events.select(slice(0, 600)))


def test_corrupt_list_offsets_are_reported(tmp_path, make_events, monkeypatch):
    path = tmp_path / "events.root"
    monkeypatch.setattr(uproot, "LZ4", lambda _level: None)  # without compression there is no checksum
    with open_writer(path) as writer:
        writer.write(make_events(150))
    with uproot.open(path) as file:
        basket = file["Events"]["PFCands_dz"].basket(0)
        place = int(file["Events"]["PFCands_dz"].member("fBasketSeek")[0])
        offset = place + basket.member("fKeylen") + len(basket.data) + 4 + 4 * 100  # a list offset
    damaged = bytearray(path.read_bytes())
    damaged[offset : offset + 4] = b"\x7f\xff\xff\xff"
    path.write_bytes(damaged)
    with pytest.raises(UnreadableFileError, match=r"past entry 100 of 150: column 'PFCands_dz' is corrupt"):
        read_count(path)


def test_bad_files_are_skipped_listed_and_in_the_exit_code(tmp_path, write_in_baskets, make_events):
    for name in "abc":
        write_in_baskets(tmp_path / f"{name}.root")
    whole = (tmp_path / "b.root").read_bytes()
    (tmp_path / "b.root").write_bytes(whole[: len(whole) // 2])
    reader = read_events(
        [tmp_path / "a.root", tmp_path / "b.root", tmp_path / "x.root", tmp_path / "c.root"],
        skip_bad_files=True,
    )
    counts = {}
    for chunk in reader:
        counts[chunk.file[-6:]] = counts.get(chunk.file[-6:], 0) + len(chunk.events)
    assert counts["a.root"] == counts["c.root"] == EVENTS
    assert [skipped.path[-6:] for skipped in reader.skipped] == ["b.root", "x.root"]
    assert reader.skipped[0].entry_reached == counts.get("b.root", 0)
    assert "no such file" in reader.skipped[1].reason
    with pytest.raises(
        SkippedFilesError, match=r"2 of 4 files were skipped: .*b\.root cannot be read"
    ) as raised:
        reader.raise_if_skipped()
    assert raised.value.exit_code == 8


def test_good_files_skip_nothing(tmp_path, write_in_baskets):
    write_in_baskets(tmp_path / "a.root")
    reader = read_events(tmp_path / "a.root", skip_bad_files=True)
    assert sum(len(chunk.events) for chunk in reader) == EVENTS
    reader.raise_if_skipped()


@pytest.mark.parametrize("suffix", [".h5", ".npy", ".npz"])
def test_bad_array_files_are_reported(tmp_path, suffix):
    path = tmp_path / f"jets{suffix}"
    jets = np.round(np.random.default_rng(1).normal(0, 9, (400, 100, 3))).astype(np.float32)
    if suffix == ".h5":
        with h5py.File(path, "w") as file:
            file.create_dataset("jets", data=jets, chunks=(20, 100, 3), compression="gzip", fletcher32=True)
    elif suffix == ".npy":
        np.save(path, jets)
    else:
        np.savez_compressed(path, jets=jets)
    whole = path.read_bytes()
    dice = random.Random(7)
    for round_ in range(30):
        damaged = bytearray(whole[: dice.randrange(len(whole))] if round_ % 2 else whole)
        for _ in range(0 if round_ % 2 else 5):
            damaged[dice.choice([dice.randrange(128), dice.randrange(len(damaged))])] ^= dice.randrange(
                1, 256
            )
        path.write_bytes(damaged)
        try:
            assert sum(len(chunk.array) for chunk in read_arrays(path, chunk_bytes=50_000)) == len(jets)
        except TamisError:
            continue
        assert round_ % 2 == 0


def test_a_tree_with_fewer_entries_than_its_branches_is_rejected(tmp_path, write_in_baskets):
    path = tmp_path / "events.root"
    write_in_baskets(path)
    said = EVENTS.to_bytes(8, "big")
    path.write_bytes(path.read_bytes().replace(said, (EVENTS // 2).to_bytes(8, "big"), 1))
    with uproot.open(path) as file:
        assert file["Events"].num_entries == EVENTS // 2
    with pytest.raises(UnreadableFileError, match="has 1200 entries, the tree 600"):
        read_count(path)


class Refusing(http.server.BaseHTTPRequestHandler):
    """Answers every request with the status in its path."""

    def log_message(self, *_args):
        pass

    def do_GET(self):
        self.send_error(int(self.path.strip("/").split(".")[0]))

    do_HEAD = do_GET  # noqa: N815 - http.server calls this name


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "the server answered 401"),
        (403, "the server answered 403"),
        (404, "there is no such file"),
        (500, "answered 500"),
    ],
)
def test_the_status_of_a_web_server_is_reported(status, message):
    pytest.importorskip("aiohttp", reason="http needs the extra tamis[remote]")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/{status}.root"
        with pytest.raises(UnreadableFileError, match=message):
            next(iter(read_events([url])))
        server.shutdown()


def test_an_unreachable_server_is_reported():
    pytest.importorskip("aiohttp", reason="http needs the extra tamis[remote]")
    with pytest.raises(UnreadableFileError, match="no connection"):
        next(iter(read_events(["http://127.0.0.1:1/x.root"])))


@pytest.mark.parametrize(
    ("url", "kind", "message"),
    [
        ("foo://x.root", UnreadableFileError, "unknown protocol"),
        ("root://host//x.root", MissingExtraError, "pip install fsspec-xrootd"),
        ("s3://bucket/x.root", MissingExtraError, "pip install s3fs"),
    ],
)
def test_an_unsupported_protocol_is_reported(url, kind, message):
    library = {"root": "fsspec_xrootd", "s3": "s3fs"}.get(url.partition(":")[0])
    if library and importlib.util.find_spec(library):
        pytest.skip(f"{library} is installed")
    with pytest.raises(kind, match=message):
        next(iter(read_events([url])))


def test_a_leaf_of_an_unknown_class_is_reported(tmp_path, write_in_baskets):
    path = tmp_path / "events.root"
    write_in_baskets(path)
    head, _, tail = path.read_bytes().rpartition(b"TLeafF")
    path.write_bytes(head + b"TLeaf8" + tail)
    with pytest.raises(UnreadableFileError, match=r"events\.root"):
        read_count(path)
