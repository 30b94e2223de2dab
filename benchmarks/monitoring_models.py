"""Recurrent monitors against the template on streams that they have not seen, their student, and what is forgotten when ions follow protons.

python benchmarks/monitoring_models.py --part models -o models.json
python benchmarks/monitoring_models.py --part forgetting --hours 60 -o forgetting.json --figure docs/img/forgetting.png
python benchmarks/monitoring_models.py --part forgetting --record benchmarks/records/monitoring-forgetting.json --figure docs/img/forgetting.png
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from forgetting_figure import draw_forgetting
from monitoring import FAULT_RATE, JUDGED, TRAINED, write_stream
from tamis.bundle import Bundle
from tamis.monitor import lar_watch, monitor_of
from tamis.monitor.evaluation import evaluate_stream
from tamis.monitor.features import observed
from tamis.monitor.judges import open_judge
from tamis.monitor.sequence.learn import (
    TRAININGS,
    SequenceTraining,
    Term,
    error_whitening,
    importance_of,
    rows_of_tables,
    train_mode,
    validation_loss,
)
from tamis.monitor.sequence.network import SequenceNetwork
from tamis.monitor.sequence.scales import StepTable, fit_scale, step_table
from tamis.monitor.sequence.student import train_student
from tamis.monitor.sequence.training import read_good, train_sequence
from tamis.monitor.stream import stream_blocks
from tamis.monitor.training import train_monitor
from tamis.simulate.lar import LarStream

EWC_STRENGTH = 1e3
REPLAYED = 0.05


def models(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Train every detector on the same streams, and judge others."""
    good = [
        write_stream(
            folder / f"good-{k}", LarStream(mode, options.hours, "none", 1.0, "steps", options.seed + k)
        )
        for k, mode in enumerate(TRAINED)
    ]
    judged = [
        write_stream(
            folder / f"{mode}-{faults}",
            LarStream(mode, options.hours, faults, FAULT_RATE, "steps", options.seed + 100 + k),
        )
        for k, (mode, faults) in enumerate(JUDGED)
    ]
    watch, bundles, seconds = lar_watch(), {}, {}
    bundles["template"] = train_monitor(good, watch, folder / "template.tamis").bundle
    for kind in options.kinds.split(","):
        begin = time.perf_counter()
        training = replace(TRAININGS[kind], threads=options.threads)
        bundles[kind] = train_sequence(
            kind,
            good,
            watch,
            folder / f"{kind}.tamis",
            training,
            report=lambda mode, row: print(mode, row, flush=True),
        ).bundle
        seconds[kind] = time.perf_counter() - begin
    teacher = options.kinds.split(",")[-1]
    bundles["student"] = train_student(bundles[teacher], good, folder / "student.tamis").bundle
    records = []
    for name, bundle in bundles.items():
        for stream in judged:
            record = evaluate_stream(bundle, stream, "native")
            records.append(record.model_dump())
            kinds = {one.fault: f"{one.found} of {one.blocks}" for one in record.kinds}
            print(name, record.stream, f"{record.false_alarms} of {record.good_blocks}", kinds, flush=True)
    compared = {one.name: agreement(bundles[teacher], bundles["student"], one) for one in judged}
    return {"training_s": seconds, "streams": records, "student": compared}


def agreement(teacher: Bundle, student: Bundle, stream: Path) -> dict[str, float]:
    """Return how a student agrees with its teacher on a stream, and what both cost for a block of 60 steps."""
    judges, taken = [open_judge(one, "native") for one in (teacher, student)], [0.0, 0.0]
    watch, rows, count = monitor_of(teacher).watch, [], 0
    for block in (observed(one, watch) for one in stream_blocks(stream, watch)):
        verdicts = []
        for k, judge in enumerate(judges):
            begin = time.process_time()
            verdicts.append(judge.judge(block))
            taken[k] += time.process_time() - begin
        count += 1
        if all(one.state in ("good", "bad") for one in verdicts):
            rows.append([one.score for one in verdicts])
    scores = np.array(rows)
    top = scores[:, 0] >= np.quantile(scores[:, 0], 0.99)
    flops = [one.manifest.cost.flops for one in (teacher, student)]
    found = {
        "blocks": float(len(scores)),
        "spearman": spearman(scores),
        "spearman_top_percent": spearman(scores[top]),
        "teacher_ms": 1e3 * taken[0] / count,
        "student_ms": 1e3 * taken[1] / count,
        "operations_ratio": 60 * flops[0] / flops[1],
    }
    print(stream.name, found, flush=True)
    return found


def spearman(pairs: np.ndarray) -> float:
    """Return the rank correlation of two columns."""
    return float(np.corrcoef(pairs.argsort(axis=0).argsort(axis=0).T)[0, 1])


def forgetting(options: argparse.Namespace, folder: Path) -> dict[str, object]:
    """Train an LSTM on protons, then on ions, in four ways; errors are those of other streams, 1 that of the running mean alone."""
    streams = {
        (mode, use): write_stream(
            folder / f"{mode}-{use}", LarStream(mode, options.hours, "none", 1.0, "steps", options.seed + k)
        )
        for k, (mode, use) in enumerate((m, u) for m in ("pp", "pbpb") for u in ("train", "test"))
    }
    tables: dict[tuple[str, str], StepTable] = {}
    for number, mode in ((1, "pp"), (2, "pbpb")):
        blocks = {use: read_good([streams[mode, use]], lar_watch())[0][number] for use in ("train", "test")}
        scale = fit_scale(blocks["train"])
        tables |= {(mode, use): step_table(scale, own) for use, own in blocks.items()}
    network = SequenceNetwork("lstm", tables["pp", "train"].x.shape[1])
    training = SequenceTraining(epochs=options.epochs, rows=64, threads=options.threads)
    whiten = {mode: torch.from_numpy(error_whitening([tables[mode, "train"]])) for mode in ("pp", "pbpb")}

    def errors(weights: Mapping[str, torch.Tensor]) -> dict[str, float]:
        return {
            mode: validation_loss(
                network,
                weights,
                rows_of_tables([tables[mode, "test"]], training.rows),
                training.steps,
                whiten[mode],
            )
            for mode in ("pp", "pbpb")
        }

    def trained(
        parts: Sequence[StepTable], start: Mapping[str, torch.Tensor] | None, term: Term | None = None
    ):  # type: ignore[no-untyped-def]
        return train_mode(network, parts, training, start=start, term=term)

    pp, ions = tables["pp", "train"], tables["pbpb", "train"]
    first = trained([pp], None)
    before = errors(first)
    importance = importance_of(
        network, first, rows_of_tables([pp], training.rows), training.steps, whiten["pp"]
    )
    part = int(REPLAYED * len(pp.x) / pp.begin[-1] * pp.begin[-1])
    replayed = StepTable(**{name: value[:part] for name, value in vars(pp).items()})
    after = {
        "naive": errors(trained([ions], first)),
        "ewc": errors(trained([ions], first, Term(first, importance, EWC_STRENGTH))),
        "replay": errors(trained([ions, replayed], first)),
    }
    after["gates"] = {"pp": before["pp"], "pbpb": after["naive"]["pbpb"]}  # each mode has weights of its own
    alone = errors(trained([ions], None))
    result = {
        "protons_first": before,
        "ions_alone": alone,
        "after_ions": after,
        # Positive transfers are gains: of protons by what came later, of ions by what came first.
        "backward_transfer": {name: before["pp"] - one["pp"] for name, one in after.items()},
        "forward_transfer": {name: alone["pbpb"] - one["pbpb"] for name, one in after.items()},
    }
    print(json.dumps(result, indent=1), flush=True)
    return result


def main() -> None:
    """Measure one part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=["models", "forgetting"], required=True)
    parser.add_argument("-o", "--output", type=Path, help="record that is written")
    parser.add_argument("--figure", type=Path, help="picture of the part forgetting, as PNG")
    parser.add_argument(
        "--record",
        type=Path,
        help="draw the figure from this record of the part forgetting, and train nothing",
    )
    parser.add_argument("--hours", type=float, default=200.0, help="of each stream")
    parser.add_argument("--seed", type=int, default=7000, help="of the first stream")
    parser.add_argument("--kinds", default="lstm,xlstm", help="the last one teaches the student")
    parser.add_argument("--epochs", type=int, default=8, help="of the trainings of the part forgetting")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    if options.figure is not None and options.part != "forgetting":
        parser.error("--figure draws the part forgetting: pass --part forgetting")
    if options.record is not None:
        if options.figure is None:
            parser.error("--record is drawn: say where to, with --figure PATH.png")
        draw_forgetting(json.loads(options.record.read_text()), options.figure)
        return
    if options.output is None:
        parser.error("the record needs a place: pass -o FILE.json")
    with tempfile.TemporaryDirectory() as name:
        result = (models if options.part == "models" else forgetting)(options, Path(name))
    options.output.write_text(json.dumps(result, indent=1) + "\n")
    if options.figure is not None:
        draw_forgetting(result, options.figure)


if __name__ == "__main__":
    main()
