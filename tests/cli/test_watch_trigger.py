"""The trigger watches itself: the commands of the documentation find a path whose threshold was changed."""

from __future__ import annotations

import re
from pathlib import Path

import awkward as ak
import numpy as np
import pytest

from tamis.events import Events, write_events
from tamis.monitor.journal import Journal

GUIDE = Path(__file__).parents[2] / "docs" / "how-to" / "monitor.md"
BLOCK = 1200  # events


def write_blocks(path, first, number, seed):
    """Write events with the columns that the menu of the documentation reads."""
    rng = np.random.default_rng(seed)
    count = number * BLOCK
    vertices = rng.poisson(40, count)
    jets = rng.poisson(1 + 0.02 * vertices)
    columns = {
        "run": np.full(count, 1, np.uint32),
        "luminosityBlock": (first + np.arange(count) // BLOCK).astype(np.uint32),
        "event": np.arange(first * BLOCK, first * BLOCK + count, dtype=np.uint64),
        "PV_npvs": vertices.astype(np.int32),
        "MET_pt": rng.exponential(40, count).astype(np.float32),
        "Jet_pt": ak.unflatten(rng.exponential(200, jets.sum()).astype(np.float32), jets),
        "Jet_eta": ak.unflatten(rng.normal(0, 1, jets.sum()).astype(np.float32), jets),
    }
    write_events(path, Events.of(columns))


@pytest.fixture
def guide(tmp_path):
    """The menu and the watch file of the documentation, in a folder."""
    files = re.findall(
        r"cat > (trigger\S*) <<'EOF'\n(.*?)EOF\n", GUIDE.read_text(encoding="utf-8"), re.DOTALL
    )
    for name, text in files:
        (tmp_path / name).write_text(text)
    return tmp_path


def test_a_changed_threshold_is_found(call, guide):
    menu = (guide / "trigger.yaml").read_text()
    (guide / "changed.yaml").write_text(menu.replace("MET_pt > 100", "MET_pt > 72"))  # doubles the rate
    for menu, out, folder, first, number in (
        ("trigger", "good", "good-watched", 1, 140),
        ("trigger", "day-1", "watched", 201, 25),
        ("changed", "day-2", "watched", 226, 5),
    ):
        write_blocks(guide / f"{out}.parquet", first, number, seed=first)
        ran = call("run", guide / f"{menu}.yaml", guide / f"{out}.parquet", "-o", guide / out, "--monitor", guide / folder)  # fmt: skip
        assert ran[0] == 0, ran
    load = (guide / "trigger-load.yaml").read_text()
    (guide / "trigger-size.yaml").write_text(
        re.sub(".*(time|stage)_us.*\n", "", load)
    )  # times are not the same twice
    for watch, region, quantity in (("rates", "met", "rate"), ("size", "streams", "size")):
        model, monitored = guide / f"{watch}.tamis", guide / f"{watch}-monitored"
        assert call("train", "lar-template", guide / "good-watched", "--watch", guide / f"trigger-{watch}.yaml", "-o", model)[0] == 0  # fmt: skip
        code, _, told = call("monitor", guide / "watched", "--model", model, "-o", monitored)
        assert code == 0
        journal = Journal(monitored)
        blocks = list(journal.blocks())
        journal.close()
        bad = [one for one in blocks if one.state == "bad"]
        assert [one.block for one in bad] == list(range(226, 231)), told
        assert {(one.region, one.quantity, one.direction) for one in bad} == {(region, quantity, "up")}
        assert [one.state for one in blocks[1:25]] == [
            "good"
        ] * 24  # although none of their events is in debug
