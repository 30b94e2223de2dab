"""How well a monitor does on a stream whose faults are known: `truth.json` of `tamis simulate lar-stream`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tamis._base import DataError, host_facts, parse_document, utc_timestamp
from tamis.bundle import Bundle, wilson
from tamis.monitor.explain import EVERYWHERE, Explainer, Explanation
from tamis.monitor.features import observed
from tamis.monitor.follow import Verdict
from tamis.monitor.judges import open_judge
from tamis.monitor.model import MonitorModel, monitor_of
from tamis.monitor.stream import stream_blocks
from tamis.records import TRUTH_FILE, KindFound, MonitorEvaluation, StreamTruth, TrueFault

TENTHS = 10
ONE_SIDED_Z = 1.6449  # at 95 %
COUNTED_QUANTITY = "Q"  # which a burst moves


def evaluate_stream(bundle: Bundle, folder: Path, engine: str = "auto") -> MonitorEvaluation:
    """Judge a stream, and compare the verdicts with its faults."""
    truth = read_truth(folder)
    model = monitor_of(bundle)
    judge = open_judge(bundle, engine)
    verdicts = {
        block.key: judge.judge(observed(block, model.watch)) for block in stream_blocks(folder, model.watch)
    }
    numbers = {(one.run, one.block): k for k, one in enumerate(truth.blocks)}
    unknown = [key for key in verdicts if key not in numbers]
    if unknown:
        raise DataError(
            f"{folder / TRUTH_FILE} does not have the block {unknown[0][1]} of run {unknown[0][0]}: it is of another stream"
        )
    faults = faults_of_blocks(truth)
    judged = [verdicts.get((one.run, one.block)) for one in truth.blocks]
    good = [
        (verdict.state == "bad", block.luminosity)
        for verdict, block, own in zip(judged, truth.blocks, faults, strict=True)
        if not own and verdict is not None and verdict.state in ("good", "bad")
    ]
    alarms = np.array([alarm for alarm, _ in sorted(good, key=lambda pair: pair[1])], bool)
    return MonitorEvaluation(
        created=utc_timestamp(), host=host_facts(), bundle=bundle.name, stream=folder.name, mode=truth.mode, seed=truth.seed, blocks=len(truth.blocks),
        unscored=sum(one is None or one.state not in ("good", "bad") for one in judged), good_blocks=len(good), false_alarms=int(alarms.sum()),
        false_upper=wilson(int(alarms.sum()), len(alarms), ONE_SIDED_Z)[1], false_by_luminosity=[int(part.sum()) for part in np.array_split(alarms, TENTHS)],
        kinds=_kinds_found(truth, faults, judged, model),
    )  # fmt: skip


def read_truth(folder: Path) -> StreamTruth:
    """Return the truth of a stream."""
    path = folder / TRUTH_FILE
    if not path.is_file():
        raise DataError(
            f"the stream {folder} has no {TRUTH_FILE}: only simulated streams, whose faults are known, can be evaluated"
        )
    return parse_document(path.read_text(encoding="utf-8"), StreamTruth, str(path))


def faults_of_blocks(truth: StreamTruth) -> list[list[int]]:
    """Return the faults of each block, by number."""
    number = {(one.run, one.block): k for k, one in enumerate(truth.blocks)}
    found: list[list[int]] = [[] for _ in truth.blocks]
    for place, fault in enumerate(truth.faults):
        for block in range(number[fault.run, fault.first_block], number[fault.run, fault.last_block] + 1):
            found[block].append(place)
    return found


def _kinds_found(
    truth: StreamTruth, faults: Sequence[Sequence[int]], judged: Sequence[Verdict | None], model: MonitorModel
) -> list[KindFound]:
    explainer = Explainer(model.watch)
    alone: dict[str, list[tuple[bool, bool, bool, bool]]] = defaultdict(list)
    begun: dict[int, int] = {}
    delay: dict[int, int] = {}
    for place, (verdict, own) in enumerate(zip(judged, faults, strict=True)):
        is_bad = verdict is not None and verdict.state == "bad"
        for fault in own:
            begun.setdefault(fault, place)
            if is_bad:
                delay.setdefault(fault, place - begun[fault])
        if len(own) == 1 and verdict is not None and verdict.state in ("good", "bad"):
            fault_alone = truth.faults[own[0]]
            told = explainer.explain(verdict, model.modes[verdict.mode]) if is_bad else None
            alone[fault_alone.fault].append(_right(told, fault_alone, model.watch.regions))
    kinds = []
    for kind in sorted({one.fault for one in truth.faults}):
        numbers = [k for k, one in enumerate(truth.faults) if one.fault == kind]
        table = np.array(alone[kind], bool).reshape(-1, 4)
        delays = [delay[k] for k in numbers if k in delay]
        found, region, quantity, named = (int(count) for count in table.sum(axis=0))
        kinds.append(
            KindFound(
                fault=kind, defect=truth.faults[numbers[0]].defect, blocks=len(table), found=found, region=region, quantity=quantity, named=named,
                faults=len(numbers), faults_found=len(delays), median_delay_blocks=float(np.median(delays)) if delays else None,
            )
        )  # fmt: skip
    return kinds


def _right(
    told: Explanation | None, fault: TrueFault, regions: Sequence[str]
) -> tuple[bool, bool, bool, bool]:
    """Return whether a fault was found, and whether its region, quantity and defect are right."""
    if told is None:
        return False, False, False, False
    region = fault.regions[0] if len(fault.regions) < len(regions) else EVERYWHERE
    quantity = told.quantity if told.quantity in ("n", "tau") else COUNTED_QUANTITY
    return True, told.region == region, quantity in fault.quantities, fault.defect in told.kinds[:2]
