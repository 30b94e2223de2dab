"""A simple selection (jets, missing energy, leptons) as a tamis menu and as a coffea processor, on one core.

Both read the same columns of the same files and must count the same events; they are interleaved, and each turn gives one ratio.
Run it in a separate environment with both: `pip install . -r benchmarks/coffea_selection/requirements.txt`.

Usage: python benchmarks/coffea_selection/run.py FILE...
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import awkward as ak
import numpy as np
from coffea import processor
from coffea.nanoevents import NanoAODSchema

from tamis._base import file_stamp, host_facts, utc_timestamp
from tamis.trigger import Menu, menu_of, run_menu

ROUNDS = 7
LEPTON = "count(Muon_pt > 24 and abs(Muon_eta) < 2.4 and Muon_pfRelIso03_all < 0.15) >= 1"
JETS = "count(Jet_pt > 30 and abs(Jet_eta) < 2.5) >= 2"
MET = "MET_pt > 30"


class Selection(processor.ProcessorABC):
    """The selection as a coffea processor."""

    def __init__(self, leptons: bool) -> None:
        self.leptons = leptons

    def process(self, events):
        jets = events.Jet[(events.Jet.pt > 30) & (abs(events.Jet.eta) < 2.5)]
        passed = (ak.num(jets) >= 2) & (events.MET.pt > 30)
        if self.leptons:
            muon = events.Muon
            good = muon[(muon.pt > 24) & (abs(muon.eta) < 2.4) & (muon.pfRelIso03_all < 0.15)]
            passed = passed & (ak.num(good) >= 1)
        return {"events": len(events), "passed": int(ak.sum(passed))}

    def postprocess(self, accumulator):
        return accumulator


def menu(leptons: bool) -> Menu:
    steps = [MET, JETS, *([LEPTON] if leptons else [])]
    return Menu.model_validate(
        {
            "menu": "selection",
            "micro_batch": 8192,
            "paths": {"selected": {"steps": steps}},
            "streams": {"selected": {"paths": ["selected"], "keep": ["MET_pt"], "format": "parquet"}},
        }
    )


def main(files: list[str]) -> None:
    """Print the ratio, and write a record with --keep."""
    import uproot

    with uproot.open(files[0]) as file:
        leptons = "Muon_pfRelIso03_all" in file["Events"]
    source = menu_of(menu(leptons))
    runner = processor.Runner(
        executor=processor.IterativeExecutor(status=False),
        schema=NanoAODSchema,
        chunksize=50_000,
        savemetrics=False,
    )

    def ours() -> int:
        folder = tempfile.mkdtemp()
        try:
            return run_menu(source, files, folder, unit_events=50_000).counts.paths["selected"]
        finally:
            shutil.rmtree(folder)

    def theirs() -> int:
        found = runner({"sample": {"files": dict.fromkeys(files, "Events")}}, Selection(leptons))
        return int(found["passed"])

    turns: dict[str, list[float]] = {"tamis": [], "coffea": []}
    counts = {}
    for name, call in (("tamis", ours), ("coffea", theirs)):
        counts[name] = call()  # warm: files in the page cache, code imported
    if counts["tamis"] != counts["coffea"]:
        raise SystemExit(f"tamis and coffea select different numbers of events: {counts}")
    rng = np.random.default_rng(0)
    for _ in range(ROUNDS):
        pairs: list[tuple[str, Callable[[], int]]] = [("tamis", ours), ("coffea", theirs)]
        for index in rng.permutation(2):
            name, call = pairs[index]
            start = time.perf_counter()
            call()
            turns[name].append(time.perf_counter() - start)
    ratios = np.array(turns["coffea"]) / np.array(turns["tamis"])
    with uproot.open(files[0]) as file:
        events = sum(uproot.open(name)["Events"].num_entries for name in files)
    record = {
        "kind": "selection",
        "created": utc_timestamp(),
        "host": host_facts().model_dump(mode="json"),
        "versions": {name: version(name) for name in ("coffea", "uproot", "awkward")},
        "events": events,
        "passed": counts["tamis"],
        "leptons": leptons,
        "seconds": turns,
        "coffea_over_tamis": {
            "median": float(np.median(ratios)),
            "low": float(ratios.min()),
            "high": float(ratios.max()),
        },
    }
    print(json.dumps({k: v for k, v in record.items() if k != "host"}, indent=1))
    target = Path(__file__).parents[1] / "records" / f"selection-{file_stamp(record['created'])}.json"
    if "--keep" in sys.argv:
        target.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main([argument for argument in sys.argv[1:] if argument != "--keep"])
