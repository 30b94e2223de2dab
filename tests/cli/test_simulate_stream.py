"""`tamis simulate lar-stream`: files, their truth, and the messages for wrong options."""

from __future__ import annotations

import json

import pytest

from tamis._base import UsageError
from tamis.simulate.lar import LarStream, plan_stream


def test_the_command_writes_the_truth(call, tmp_path):
    folder = tmp_path / "stream"
    arguments = (
        "simulate",
        "lar-stream",
        "--hours",
        12,
        "--detail",
        "steps",
        "--fault-rate",
        2,
        "-o",
        folder,
    )
    code, out, _ = call(*arguments)
    assert code == 0
    truth = json.loads((folder / "truth.json").read_text())
    assert f"{len(truth['blocks'])} blocks" in out
    blocks = {(one["run"], one["block"]) for one in truth["blocks"]}
    for fault in truth["faults"]:
        assert fault["first_block"] <= fault["last_block"]
        assert {(fault["run"], fault["first_block"]), (fault["run"], fault["last_block"])} <= blocks
    assert len(list(folder.glob("steps-*.parquet"))) == -(-len(blocks) // 240)
    code, _, err = call(*arguments)
    assert code == 2
    assert "streams are not mixed" in err


def test_wrong_options_are_named(call, tmp_path):
    for option, value, words in (
        ("--faults", "hv-trp", "did you mean"),
        ("--hours", 0, "more than 0"),
        ("--mode", "ee", "pbpb"),
    ):
        code, _, err = call("simulate", "lar-stream", option, value, "-o", tmp_path / "x")
        assert code == 2
        assert words in err
        assert not (tmp_path / "x").exists()
    with pytest.raises(UsageError, match="mode"):
        plan_stream(LarStream(mode="ee"))
