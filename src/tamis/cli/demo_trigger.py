"""The trigger in the demo: run the shipped menu over the simulated events, write streams, measure rates."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tamis._base import quantity, write_text
from tamis.cli.output import print_table

if TYPE_CHECKING:
    from tamis.records import RateRecord
    from tamis.trigger import RunSummary

DEMO_MENU, INPUT_HZ = "hlt", 100_000.0
QCD_PB, SIGNAL_PB = 1.0e6, 0.1  # round numbers, good enough for a demo


def run_shipped(samples: Mapping[str, Path], output: Path) -> tuple[RunSummary, RateRecord, list[Path]]:
    """Run the shipped menu event by event; return the summary, the rates, and the paths of both records."""
    from tamis.measure import SampleList, SampleSpec, study_rates
    from tamis.trigger import load_menu, run_menu

    menu, out = load_menu(DEMO_MENU), output / "trigger"
    shutil.rmtree(out, ignore_errors=True)
    summary = run_menu(menu, [str(file) for file in samples.values()], out, mode="event")
    background, *signals = samples
    specs = {background: SampleSpec(files=(str(samples[background]),), cross_section_pb=QCD_PB, weight=None)}
    specs |= {
        name: SampleSpec(files=(str(samples[name]),), cross_section_pb=SIGNAL_PB, kind="signal", weight=None)
        for name in signals
    }
    rates = study_rates(menu, SampleList(samples=specs), input_hz=INPUT_HZ)
    write_text(out / "rates.json", rates.model_dump_json(indent=1) + "\n")
    return summary, rates, [out / "run.json", out / "rates.json"]


def print_trigger(summary: RunSummary, rates: RateRecord) -> None:
    """Print accepted events, rates and latencies."""
    names = list(rates.samples)
    rows = [
        (
            path.path,
            summary.counts.paths[path.path],
            path.rate.text,
            *(f"{100 * path.efficiency[name]:.1f}" for name in names),
        )
        for path in rates.paths
    ]
    print_table(
        f"the shipped menu, {quantity(INPUT_HZ, 'Hz')} of simulated QCD (limits at 95 % confidence)",
        ("path", "accepted", "rate", *(f"% of {name}" for name in names)),
        rows,
    )
    counts, time = summary.counts, summary.times["event"]
    print_table(
        "every event has one outcome",
        ("events", "accepted", "rejected", "debug", "unreadable", "median ms", "p99 ms", "max ms", "of 100 ms"),
        [
            (
                counts.entered, counts.accepted, counts.rejected, counts.debug, counts.unreadable,
                *(f"{ns / 1e6:.1f}" for ns in (time.quantile_ns(0.5), time.quantile_ns(0.99), time.most_ns)),
                f"{time.most_ns / 1e6:.0f} %",
            )
        ],
    )  # fmt: skip


def trigger_summary(summary: RunSummary, rates: RateRecord) -> dict[str, Any]:
    """Return counts and rates for `--json`."""
    return {
        "counts": summary.counts.model_dump(mode="json"),
        "rates_hz": {path.path: path.rate.hz for path in rates.paths},
    }
