"""The figure of what a monitor forgets shows the numbers of its record."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
RECORD = ROOT / "benchmarks" / "records" / "monitoring-forgetting.json"
METHODS = ("naive", "ewc", "replay", "gates")

pytest.importorskip("matplotlib")
pytest.importorskip("mplhep")


@pytest.fixture(autouse=True)
def scripts(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")


@pytest.fixture(scope="module")
def record():
    return json.loads(RECORD.read_text())


def test_both_panels_show_the_record(record):
    from forgetting_figure import forgetting_figure

    left, right = forgetting_figure(record).axes
    for line, mode, name in zip(left.lines[1:], ("pp", "pbpb"), ("protons", "lead ions"), strict=True):
        rows = [record["protons_first"], *(record["after_ions"][one] for one in METHODS), record["ions_alone"]]  # fmt: skip
        assert line.get_label() == name
        np.testing.assert_array_equal(line.get_xdata(), [row[mode] for row in rows])
        assert left.viewLim.x0 < min(line.get_xdata()) < max(line.get_xdata()) < left.viewLim.x1
    for bars, transfer in zip(right.containers, ("backward_transfer", "forward_transfer"), strict=True):
        assert [bar.get_width() for bar in bars] == [record[transfer][one] for one in METHODS]
    shown = {text.get_text() for text in right.texts}
    assert {"0, to the bit", "\N{MINUS SIGN}0.0249", "\N{MINUS SIGN}0.0068"} <= shown
    names = [text.get_text().replace("\n", " ") for text in left.get_yticklabels()]
    assert names[1:5] == ["then on ions, same weights", "then on ions, with EWC", "then on ions and 5 % of the protons", "weights for each mode (default)"]  # fmt: skip
    labels = [text.get_text() for axes in (left, right) for text in axes.get_legend().get_texts()]
    assert labels == ["protons", "lead ions", "backward, to protons", "forward, to ions"]


def test_transfers_are_differences_of_errors(record):
    before, alone = record["protons_first"], record["ions_alone"]
    for method, after in record["after_ions"].items():
        assert record["backward_transfer"][method] == before["pp"] - after["pp"]
        assert record["forward_transfer"][method] == alone["pbpb"] - after["pbpb"]


def test_the_figure_is_drawn_from_a_record_without_a_training(tmp_path):
    pytest.importorskip("torch")
    command = [
        sys.executable,
        ROOT / "benchmarks" / "monitoring_models.py",
        "--part",
        "forgetting",
        "--record",
        RECORD,
    ]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "say where to, with --figure" in refused.stderr
    subprocess.run([*command, "--figure", tmp_path / "again.png"], check=True, timeout=60)
    assert (tmp_path / "again.png").read_bytes().startswith(b"\x89PNG")
