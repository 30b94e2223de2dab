"""Sums of steps are exact: parts in any order, of any size and from any files give the same bytes."""

from __future__ import annotations

from functools import reduce

import awkward as ak
import numpy as np
import pytest

from tamis._base import DataError
from tamis.events import EventFile, Events
from tamis.monitor.features import features_of, observed
from tamis.monitor.stream import stream_blocks
from tamis.monitor.sums import block_sums, columns_of
from tamis.monitor.watch import Watch, WatchedQuantity, read_watch
from tamis.simulate.lar import LarStream, plan_stream, simulate_lar


@pytest.fixture(scope="module")
def rows():
    """Half a minute of events."""
    (piece,) = simulate_lar(plan_stream(LarStream(hours=0.008, faults="none", seed=3)))
    return piece.array


def sums_of(rows, watch):
    blocks = list(block_sums(Events(rows), watch))
    return reduce(lambda a, b: a.merged(b), blocks)


def test_parts_in_any_order_give_the_same_bytes(rows, watch):
    whole = sums_of(rows, watch)
    random = np.random.default_rng(1)
    for parts in (2, 7):
        pieces = np.array_split(random.permutation(len(rows)), parts)
        found = [sums_of(rows[piece], watch) for piece in pieces]
        for order in (found, found[::-1]):
            merged = reduce(lambda a, b: a.merged(b), order)
            assert merged.digest() == whole.digest()
            assert observed(merged, watch).features.tobytes() == observed(whole, watch).features.tobytes()


def test_features_are_means_and_widths(rows, watch):
    block = observed(sums_of(rows, watch), watch)
    found = dict(zip(features_of(watch), block.features, strict=True))
    for region, quantity, unit in (("EMBC", "Q", 1 / 65535), ("EMECA", "tau", 0.01)):
        n, first, second = (
            ak.to_numpy(rows[f"{region}_{name}"]).sum(dtype=float) for name in ("n", quantity, f"{quantity}2")
        )
        named = {
            one.of: value for one, value in found.items() if (one.region, one.quantity) == (region, quantity)
        }
        assert named["mean"] == pytest.approx(unit * first / n, rel=1e-12)
        assert named["width"] == pytest.approx(unit * np.sqrt(second / n - (first / n) ** 2), rel=1e-9)
        assert abs(named["unrest"]) < 1  # steps differ by as much as their clusters make them
    (number,) = (value for one, value in found.items() if (one.region, one.of) == ("EMBC", "number"))
    assert number == pytest.approx(ak.to_numpy(rows["EMBC_n"]).mean())


def test_bits_that_are_the_same_everywhere_or_evenly_spread_have_no_unrest():
    bits = Watch(
        name="bits",
        condition="c",
        quantities=[WatchedQuantity(region=one, name="rate", values=one, resolution=0.001) for one in ("never", "even", "some")],
    )  # fmt: skip
    event = np.arange(2000)
    columns = {"run": event * 0, "luminosityBlock": event * 0, "event": event, "c": event * 0}
    flags = {"never": event < 0, "even": event < 30, "some": event % 7 == 0}
    block = observed(sums_of(Events.of({**columns, **flags}).array, bits), bits)
    assert np.isfinite(block.features).all()
    found = {
        (one.region, one.of): value for one, value in zip(features_of(bits), block.features, strict=True)
    }
    assert (found["never", "mean"], found["never", "width"], found["never", "unrest"]) == (0, 0, 0)
    assert found["even", "mean"] == pytest.approx(30 / 2000)
    assert found["even", "unrest"] < -5


def test_any_columns_can_be_watched():
    random = np.random.default_rng(2)
    counts = random.poisson(4, 3000)
    values = random.normal(50, 10, counts.sum()).astype(np.float32)
    met = random.exponential(30, 3000)
    met[7] = np.nan
    events = Events.of(
        {
            "run": np.full(3000, 5), "luminosityBlock": np.repeat([1, 2, 3], 1000), "event": np.arange(3000),
            "time": np.tile(np.linspace(0, 9.99, 1000), 3), "PV_npvs": np.full(3000, 40), "Jet_pt": ak.unflatten(values, counts), "MET_pt": met,
        }
    )  # fmt: skip
    watch = Watch(
        name="jets", second="time", condition="PV_npvs",
        quantities=[
            WatchedQuantity(region="jets", name="pt", values="Jet_pt", resolution=0.01),
            WatchedQuantity(region="met", name="pt", values="MET_pt", resolution=0.01),
        ],
    )  # fmt: skip
    blocks = list(block_sums(events, watch))
    assert [one.key for one in blocks] == [(5, 1), (5, 2), (5, 3)]
    first = observed(blocks[0], watch)
    own = values[: counts[:1000].sum()]
    assert first.features[:3] == pytest.approx([counts[:1000].mean(), own.mean(), own.std()], rel=1e-4)
    assert [observed(one, watch).broken for one in blocks] == [1, 0, 0]
    assert list(first.step) == list(range(10))


def test_a_missing_column_is_named(watch, rows):
    known = set(rows.fields) - {"EMBA_tau2"}
    with pytest.raises(DataError, match="no column EMBA_tau2"):
        columns_of(watch, known)


def test_a_block_in_two_files_is_one_block(rows, watch, tmp_path):
    from tamis.events import open_writer

    for name, piece in (
        ("a", rows[:10_000]),
        ("b", rows[10_000:]),
        ("c", rows[:10_000]),
    ):  # the last one comes twice
        with open_writer(tmp_path / f"{name}.parquet") as writer:
            writer.write(Events(piece))
    blocks = list(stream_blocks(tmp_path, watch))
    assert [one.digest() for one in blocks] == [one.digest() for one in block_sums(Events(rows), watch)]


@pytest.mark.parametrize("name", ["nano_dy.root", "nano_dy_rntuple.root", "pfnano.root"])
def test_columns_of_nanoaod_are_watched_by_a_file(real_file, tmp_path, name):
    (tmp_path / "watch.yaml").write_text(
        "name: nano\ncondition: PV_npvs\nquantities:\n"
        "  - {region: jets, name: pt, values: Jet_pt, resolution: 0.01}\n"
        "  - {region: met, name: pt, values: MET_pt, resolution: 0.01}\n"
    )
    watch = read_watch(tmp_path / "watch.yaml")
    (block,) = (observed(one, watch) for one in stream_blocks(real_file(name), watch))
    with EventFile(str(real_file(name))) as file:
        events = file.read(["PV_npvs", "Jet_pt", "MET_pt"], 0, file.entries)
    jets, met = ak.to_numpy(ak.flatten(events["Jet_pt"])), ak.to_numpy(events["MET_pt"])
    assert block.condition == pytest.approx(ak.mean(events["PV_npvs"]))
    assert block.features[1:3] == pytest.approx([jets.mean(), jets.std()], rel=1e-3)
    assert block.features[5:7] == pytest.approx([met.mean(), met.std()], rel=1e-3)
    assert block.features[[0, 4]] == pytest.approx([len(jets) / len(met), 1])
