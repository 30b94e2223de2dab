"""`tamis evaluate --stream`: false alarms of a monitor, and the faults that it finds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tamis._base import write_text
from tamis.cli.output import print_json, print_table, print_text

if TYPE_CHECKING:
    from tamis.bundle import Bundle
    from tamis.records import MonitorComparison, PairedDifference


def evaluate_monitor(
    bundle: Bundle,
    others: Sequence[Bundle],
    stream: Path,
    output: Path,
    *,
    good: Path | None,
    engine: str,
    seed: int,
    as_json: bool,
) -> None:
    """Judge a stream whose faults are known, compare with other monitors, print and write the records."""
    from tamis.monitor.comparison import compare_monitors
    from tamis.monitor.evaluation import evaluate_stream
    from tamis.report import write_report

    record = evaluate_stream(bundle, stream, engine)
    path = output / f"monitor-{bundle.name}.json"
    write_text(path, record.model_dump_json(indent=1) + "\n")
    comparison = (
        compare_monitors([bundle, *others], stream, good, engine=engine, seed=seed) if others else None
    )
    if comparison is not None:
        write_text(output / f"comparison-{bundle.name}.json", comparison.model_dump_json(indent=1) + "\n")
    write_report([output], output)
    if as_json:
        print_json(
            record
            if comparison is None
            else {"evaluation": record.model_dump(), "comparison": comparison.model_dump()}
        )
        return
    print_text(
        f"{record.false_alarms} of {record.good_blocks} good blocks are bad: at most {1e4 * record.false_upper:.1f} in 10,000 at 95 %; {record.unscored} of {record.blocks} blocks unscored"
    )
    if record.kinds:
        print_table(
            "faults, and the blocks with one of them alone",
            ("fault", "number", "found", "delay, blocks", "blocks", "bad", "region", "quantity", "defect"),
            [
                (
                    one.fault, str(one.faults), str(one.faults_found), "-" if one.median_delay_blocks is None else f"{one.median_delay_blocks:g}",
                    str(one.blocks), _percent(one.found, one.blocks), *(_percent(right, one.found) for right in (one.region, one.quantity, one.named)),
                )
                for one in record.kinds
            ],
        )  # fmt: skip
    if comparison is not None:
        _print_comparison(comparison)
    print_text(f"the record is {path}, the page {output}/index.html")


def _print_comparison(comparison: MonitorComparison) -> None:
    differences = {one.against: one for one in comparison.differences}
    print_table(
        f"on {comparison.blocks} blocks, {100 * comparison.prevalence:.1f} % of them with faults",
        ("monitor", f"recall at {comparison.false_rate:g}", "less by (95 %)", "VUS-PR", "less by (95 %)"),
        [
            (
                one.name, f"{one.recall:.4f}", _less_by(differences.get(one.name), "recall_interval"), f"{one.vus_pr:.4f}",
                _less_by(differences.get(one.name), "vus_pr_interval"),
            )
            for one in comparison.monitors
        ],
    )  # fmt: skip


def _less_by(difference: PairedDifference | None, interval: str) -> str:
    if difference is None:
        return "-"
    low, high = getattr(difference, interval)
    return f"{low:.4f} to {high:.4f}"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "-"
