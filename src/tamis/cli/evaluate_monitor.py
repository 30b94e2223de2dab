"""`tamis evaluate --stream`: false alarms of a monitor, and the faults that it finds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tamis._base import write_text
from tamis.cli.output import print_json, print_table, print_text

if TYPE_CHECKING:
    from tamis.bundle import Bundle


def evaluate_monitor(bundle: Bundle, stream: Path, output: Path, engine: str, *, as_json: bool) -> None:
    """Judge a stream whose faults are known, print and write the record."""
    from tamis.monitor.evaluation import evaluate_stream

    record = evaluate_stream(bundle, stream, engine)
    path = output / f"monitor-{bundle.name}.json"
    write_text(path, record.model_dump_json(indent=1) + "\n")
    if as_json:
        print_json(record)
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
    print_text(f"the record is {path}")


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.0f} %" if whole else "-"
