"""How well a monitor finds faults: false alarms on good blocks, and found, explained and delayed faults of each kind, on streams it has not seen.

python benchmarks/monitoring.py -o monitoring.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np

from tamis._base import host_facts, utc_timestamp
from tamis.bundle import wilson
from tamis.events import open_writer
from tamis.monitor import lar_watch
from tamis.monitor.explain import Explainer
from tamis.monitor.features import observed
from tamis.monitor.follow import BlockJudge, Verdict
from tamis.monitor.model import MonitorModel, monitor_of
from tamis.monitor.run import step_of
from tamis.monitor.sums import block_sums
from tamis.monitor.training import train_monitor
from tamis.simulate.lar import LarStream, StreamPlan, plan_stream, simulate_lar
from tamis.simulate.lar.beam import Mode
from tamis.simulate.lar.faults import KINDS
from tamis.simulate.lar.regions import REGIONS

DECILES = 10
TRAINED: tuple[Mode, ...] = ("pp", "pp", "pp", "pbpb")
JUDGED: tuple[tuple[str, Mode, str], ...] = (
    ("good pp", "pp", "none"), ("good pbpb", "pbpb", "none"), ("known", "pp", "known"), ("held-out", "pp", "held-out"),
)  # fmt: skip


def faults_of(plan: StreamPlan) -> list[list[int]]:
    """Return the faults of each block, by number."""
    blocks = plan.blocks
    found: list[list[int]] = [[] for _ in range(len(blocks))]
    for number, fault in enumerate(plan.faults):
        first = int(np.searchsorted(blocks.begin_s, fault.begin_s, side="right")) - 1
        last = int(np.searchsorted(blocks.begin_s, fault.end_s, side="left"))
        for block in range(first, max(last, first + 1)):
            found[block].append(number)
    return found


def judged(plan: StreamPlan, judge: BlockJudge) -> list[tuple[Verdict, float]]:
    """Return the verdict and the pile-up of every block of a stream."""
    watch = lar_watch()
    return [
        (judge.judge(observed(block, watch)), block.condition)
        for piece in simulate_lar(plan)
        for block in block_sums(piece, watch)
    ]


def good_stream(plan: StreamPlan, judge: BlockJudge) -> dict[str, object]:
    """Return the false alarms of a stream without faults."""
    verdicts = judged(plan, judge)
    bad = np.array([verdict.state == "bad" for verdict, _ in verdicts])
    pile_up = np.array([condition for _, condition in verdicts])
    decile = np.searchsorted(np.quantile(pile_up, np.linspace(0, 1, DECILES + 1)[1:-1]), pile_up)
    _, high = wilson(int(bad.sum()), len(bad), 1.645)
    unscored = sum(verdict.state == "unscored" for verdict, _ in verdicts)
    return {
        "blocks": len(bad), "bad": int(bad.sum()), "upper_95": high, "unscored": unscored,
        "bad_by_decile_of_pile_up": [int(bad[decile == k].sum()) for k in range(DECILES)],
    }  # fmt: skip


def faulty_stream(plan: StreamPlan, judge: BlockJudge, model: MonitorModel) -> dict[str, object]:
    """Return the found and explained faults of a stream; explanations are those of blocks with one fault."""
    explainer, faults, verdicts = Explainer(model.watch), faults_of(plan), judged(plan, judge)
    blocks: dict[str, list[tuple[bool, bool, bool, bool]]] = defaultdict(list)
    delays: dict[int, int] = {}
    false = [verdict.state == "bad" for (verdict, _), own in zip(verdicts, faults, strict=True) if not own]
    for place, ((verdict, _), own) in enumerate(zip(verdicts, faults, strict=True)):
        for number in own:
            if verdict.state == "bad":
                delays.setdefault(number, place - next(k for k, one in enumerate(faults) if number in one))
        if len(own) != 1:
            continue
        fault = plan.faults[own[0]]
        if verdict.state != "bad":
            blocks[fault.kind].append((False, False, False, False))
            continue
        told = explainer.explain(verdict, model.modes[1])
        region = REGIONS[fault.region] if fault.region >= 0 else "all"
        quantity = "Q" if told.quantity == "hot" else told.quantity
        kind = KINDS[fault.kind]
        blocks[fault.kind].append(
            (True, told.region == region, quantity in kind.quantities, kind.defect in told.kinds[:2])
        )
    kinds = {}
    for name, rows in sorted(blocks.items()):
        table = np.array(rows)
        found = table[table[:, 0]]
        of_kind = [number for number, fault in enumerate(plan.faults) if fault.kind == name]
        kinds[name] = {
            "blocks": len(table), "found": float(table[:, 0].mean()),
            **{what: float(found[:, k].mean()) if len(found) else None for k, what in enumerate(("region", "quantity", "kind"), 1)},
            "faults": len(of_kind), "faults_found": sum(number in delays for number in of_kind),
            "median_delay_blocks": float(np.median([delays[number] for number in of_kind if number in delays] or [np.nan])),
        }  # fmt: skip
    return {"good_blocks": len(false), "bad_good_blocks": int(np.sum(false)), "kinds": kinds}


def main() -> None:
    """Train on streams without faults, and judge others."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--hours", type=float, default=200.0, help="of each stream")
    parser.add_argument("--seed", type=int, default=1000, help="of the first stream")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        streams = []
        for number, trained in enumerate(TRAINED):
            stream = Path(folder) / f"{trained}-{number}"
            stream.mkdir()
            plan = plan_stream(
                LarStream(trained, options.hours, "none", detail="steps", seed=options.seed + number)
            )
            for part, piece in enumerate(simulate_lar(plan)):
                with open_writer(stream / f"{part:05d}.parquet") as writer:
                    writer.write(piece)
            streams.append(stream)
        bundle = train_monitor(streams, lar_watch(), Path(folder) / "lar.tamis").bundle
        model, step = monitor_of(bundle), step_of(bundle)
        result: dict[str, object] = {
            "created": utc_timestamp(),
            "host": host_facts().model_dump(),
            "hours": options.hours,
            "seed": options.seed,
        }
        for number, (name, mode, faults) in enumerate(
            (
                ("good pp", "pp", "none"),
                ("good pbpb", "pbpb", "none"),
                ("known", "pp", "known"),
                ("held-out", "pp", "held-out"),
            )
        ):
            plan = plan_stream(
                LarStream(mode, options.hours, faults, 0.5, "steps", options.seed + 10 + number)
            )
            judge = BlockJudge(lar_watch(), step, model.modes)
            found = good_stream(plan, judge) if faults == "none" else faulty_stream(plan, judge, model)
            result[name] = found
            print(name, json.dumps(found, indent=1), flush=True)
    options.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
