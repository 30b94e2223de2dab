"""Certified blocks in the formats of the experiments, as their own readers see them."""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from tamis.monitor.certify import dials, golden_json, good_run_list, lost_luminosity
from tamis.monitor.journal import JournalBlock

STATES = [
    "good",
    "good",
    "bad",
    "good",
    "unscored",
    "good",
    "no data",
    "good",
    "good",
    "unknown mode",
    "no beam",
]


@pytest.fixture
def blocks():
    """Two runs, shuffled, one of which begins at block 0, which is never certified."""
    found = [
        JournalBlock(run, number, state, 0.5, "", "", "", "", ("HVTRIP",) if state == "bad" else (), 1.0 + number, 60, 1, 60_000)
        for run, first in ((11, 1), (7, 0))
        for number, state in enumerate(STATES, first)
    ]  # fmt: skip
    return [found[k] for k in np.random.default_rng(1).permutation(len(found))]


def test_the_golden_json_agrees_with_coffea_on_every_block(blocks, tmp_path):
    lumi_tools = pytest.importorskip("coffea.lumi_tools", reason="coffea is not installed")
    path = tmp_path / "golden.json"
    path.write_text(golden_json(blocks))
    assert json.loads(path.read_text()) == {
        "7": [[1, 1], [3, 3], [5, 5], [7, 8]],
        "11": [[1, 2], [4, 4], [6, 6], [8, 9]],
    }
    mask = lumi_tools.LumiMask(path)
    runs, numbers = (np.array([getattr(one, name) for one in blocks], np.uint32) for name in ("run", "block"))
    expected = [one.state == "good" and one.block >= 1 for one in blocks]
    assert mask(runs, numbers).tolist() == expected


def test_the_good_run_list_has_the_same_blocks(blocks):
    root = ET.fromstring(good_run_list(blocks, "a < b"))  # noqa: S314 - our own text
    ranges = {
        int(run.findtext("Run")): [
            (int(one.get("Start")), int(one.get("End"))) for one in run.iter("LBRange")
        ]
        for run in root.iter("LumiBlockCollection")
    }
    golden = json.loads(golden_json(blocks))
    assert ranges == {int(run): [tuple(one) for one in found] for run, found in golden.items()}
    assert root.findtext("NamedLumiRange/Name") == "a < b"


def test_only_scored_blocks_have_a_score(blocks):
    found = json.loads(dials(blocks, "lar", "clusters"))
    assert {(int(run), int(block)) for run, own in found.items() for block in own} == {
        (one.run, one.block) for one in blocks if one.state in ("good", "bad")
    }
    assert found["11"]["1"][0]["mse"] == 0.5


def test_lost_luminosity_adds_up(blocks):
    lost = lost_luminosity(blocks)
    assert sum(lost.values()) == pytest.approx(1)
    total = sum(one.luminosity for one in blocks)
    assert lost["HVTRIP"] == pytest.approx(
        sum(one.luminosity for one in blocks if one.state == "bad") / total
    )
