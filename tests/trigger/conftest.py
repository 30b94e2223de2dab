from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import awkward as ak
import numpy as np
import pyarrow.parquet as pq
import pytest

from tamis.events import Events, write_events

MENU = """
menu: test
budget: 10s
stages:
  kinematics:
    define:
      HT: sum(where(Jet_pt > 30, Jet_pt, 0))
  mine:
    python: mine.py:spread
paths:
  hard:
    steps: [HT > 200]
  wide:
    steps:
      - MET_pt > 20
      - spread > 50
    prescale: 3
  met:
    steps: [MET_pt > 60]
streams:
  jets: {paths: [hard, wide]}
  met: {paths: [met], keep: [MET_pt, "Jet_*"], format: parquet}
histograms:
  ht: {of: HT, bins: 20, low: 0, high: 1000}
"""

STAGES = """
import os, time
import numpy as np
from tamis.trigger import stage

@stage(reads=["Jet_pt", "trouble", "event"], adds=["spread"])
def spread(events):
    trouble = events["trouble"]
    for code in np.unique(trouble):
        if code == 1:
            raise ValueError("no such jet")
        if code == 2:
            time.sleep(0.3)
        if code == 3:
            os.kill(os.getpid(), 9)
        if code == 4:
            time.sleep(1000)
    jets = events["Jet_pt"]
    out = np.zeros(len(events), np.float32)
    for i in range(len(events)):
        pt = jets.values[jets.offsets[i]:jets.offsets[i + 1]]
        out[i] = pt.max() - pt.min() if len(pt) else 0.0
    return {"spread": out}
"""


def make_events(count: int, seed: int = 1, trouble: dict[int, int] | None = None, first: int = 0) -> Events:
    rng = np.random.default_rng(seed)
    jets = rng.integers(0, 6, count)
    codes = np.zeros(count, np.int32)
    for event, code in (trouble or {}).items():
        codes[event] = code
    return Events.of(
        {
            "run": np.full(count, seed, np.uint32),
            "luminosityBlock": np.ones(count, np.uint32),
            "event": np.arange(first, first + count, dtype=np.uint64),
            "Jet_pt": ak.unflatten(rng.exponential(80, jets.sum()).astype("f4"), jets),
            "Jet_eta": ak.unflatten(rng.normal(0, 2, jets.sum()).astype("f4"), jets),
            "MET_pt": rng.exponential(40, count).astype("f4"),
            "trouble": codes,
        }
    )


@pytest.fixture
def menu_file(tmp_path: Path) -> Path:
    (tmp_path / "mine.py").write_text(textwrap.dedent(STAGES))
    path = tmp_path / "menu.yaml"
    path.write_text(textwrap.dedent(MENU))
    return path


@pytest.fixture
def event_file(tmp_path: Path) -> Callable[..., Path]:
    def make(name: str, count: int, **named: object) -> Path:
        path = tmp_path / name
        write_events(path, make_events(count, **named))  # type: ignore[arg-type]
        return path

    return make


@pytest.fixture(name="content")
def _content() -> Callable[[Path], dict[str, str]]:
    return content


@pytest.fixture(name="make_events")
def _make_events() -> Callable[..., Events]:
    return make_events


def content(out: Path) -> dict[str, str]:
    """Return the content of a run's folder that does not depend on time and host."""
    import uproot

    found: dict[str, str] = {}
    for path in sorted(out.iterdir()):
        if path.suffix == ".parquet":
            found[path.name] = repr(pq.read_table(path).to_pydict())  # as text, since NaN differs from itself
        elif path.suffix == ".root":
            with uproot.open(path) as file:
                if "Events" in file:
                    found[path.name] = repr(file["Events"].arrays(library="ak").to_list())
                else:
                    found[path.name] = repr(
                        {key: file[key].values().tolist() for key in file.keys(cycle=False)}
                    )
    return found
