"""LUTs by estimate and by yosys: fit the estimates of `tamis firmware` and `tamis count` to training designs, test them on others.

Usage: python benchmarks/lut_estimate/run.py [--record benchmarks/records/lut-estimate-DATE.json] [--figure docs/img/lut-estimate.png] [--no-count]
Counts that the record holds already are kept as long as the Verilog is the same. Needs alkaid (extra fpga) and yosys; 15 minutes on one core.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

import designs
import numpy as np

from tamis._base import host_facts, utc_timestamp
from tamis.firmware.design import Design, make_design
from tamis.firmware.luts import COEFFICIENTS
from tamis.firmware.synthesis import FAMILY, synthesise, yosys_version
from tamis.fixedpoint import count_program

CLOCK_MHZ = 240.0
ROOT = Path(__file__).parents[2]
FITTED = "table_after_logic"  # the only coefficient that the structure does not give


def main() -> None:
    """Count, fit, test, write and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", type=Path, default=ROOT / "benchmarks/records/lut-estimate.json")
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--no-count", action="store_true", help="only what the record holds already")
    options = parser.parse_args()
    rows = (
        {row["hash"]: row for row in json.loads(options.record.read_text())["designs"]}
        if options.record.exists()
        else {}
    )
    found = []
    for part, makers in (("training", designs.TRAINING), ("held out", designs.HELD_OUT)):
        for name, make in makers.items():
            program = make().program()
            design = make_design(program, "m", CLOCK_MHZ)
            checksum = hashlib.sha256(json.dumps(design.sources, sort_keys=True).encode()).hexdigest()
            known = rows.get(checksum)
            if known is None and options.no_count:
                continue
            cells = known["cells"] if known else count(design)
            parts = {key: sum(getattr(layer.luts, key) for layer in design.layers) for key in COEFFICIENTS}
            row = {"name": name, "part": part, "hash": checksum, "cells": cells}
            row["logic"] = sum(layer.lut_estimate for layer in design.layers)
            row["program"] = sum(layer.lut or 0.0 for layer in count_program(program))
            found.append(row | {"parts": parts})
            print(
                f"{name:22} yosys {cells['lut']:6}, over logic {cells['lut'] / row['logic']:.3f}, over program {cells['lut'] / row['program']:.3f}",
                flush=True,
            )
            write(
                options.record,
                [
                    *found,
                    *(row for row in rows.values() if row["hash"] not in {one["hash"] for one in found}),
                ],
            )
    write(options.record, found)
    report(found)
    if options.figure:
        draw(found, options.figure)


def count(design: Design) -> dict[str, int]:
    """Return the cells that yosys makes."""
    with tempfile.TemporaryDirectory() as scratch:
        return dict(vars(synthesise(design, Path(scratch))))


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write the record."""
    facts = {
        "kind": "lut-estimate",
        "created": utc_timestamp(),
        "host": host_facts().model_dump(),
        "tool": yosys_version(),
        "family": FAMILY,
    }
    path.write_text(
        json.dumps(facts | {"clock_mhz": CLOCK_MHZ, "coefficients": COEFFICIENTS, "designs": rows}, indent=1)
        + "\n"
    )


def report(rows: list[dict[str, Any]]) -> None:
    """Print the fitted coefficient and how good the estimates are."""
    training = [
        row
        for row in rows
        if row["part"] == "training" and row["parts"][FITTED] and not row["cells"]["block_memories"]
    ]
    rest = [
        row["cells"]["lut"] - row["logic"] + COEFFICIENTS[FITTED] * row["parts"][FITTED] for row in training
    ]
    print(
        f"{FITTED}: {np.median([more / row['parts'][FITTED] for more, row in zip(rest, training, strict=True)]):.2f} by the median of {len(training)} designs"
    )
    for part in ("training", "held out"):
        for estimate in ("logic", "program"):
            ratios = np.array([row["cells"]["lut"] / row[estimate] for row in rows if row["part"] == part])
            print(
                f"{part}, {estimate}: yosys/estimate {ratios.min():.3f} to {ratios.max():.3f}, mean {ratios.mean():.3f}, rms of the deviation {np.sqrt(np.mean((ratios - 1) ** 2)):.3f}, {int((np.abs(ratios - 1) <= 0.1).sum())} of {len(ratios)} within 10 %"
            )


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw the ratios against the size."""
    from tamis.report.canvas import colour, label, new_figure, plain_log, style

    texts = {"logic": "from the logic", "program": "from the weights alone"}
    with style():
        figure, axes = new_figure()
        axes.axhspan(0.9, 1.1, alpha=0.15, color="grey", linewidth=0)
        for index, (estimate, text) in enumerate(texts.items()):
            for part, filled in (("training", False), ("held out", True)):
                chosen = [row for row in rows if row["part"] == part]
                luts = np.array([row["cells"]["lut"] for row in chosen])
                ratios = luts / np.array([row[estimate] for row in chosen])
                inks = {"color": colour(index), "markerfacecolor": colour(index) if filled else "none"}
                axes.plot(luts, ratios, "o^"[index], linestyle="none", label=f"{text}, {part}", **inks)
        axes.set_xscale("log")
        axes.set_ylim(0, 1.5)
        axes.set_xlabel("LUT by yosys")
        axes.set_ylabel("LUT by yosys / estimate")
        plain_log(axes.xaxis)
        axes.legend(loc="lower right")
        label(axes, "estimates of LUT", "synth_xilinx -family xcup")
        figure.savefig(path, dpi=110, facecolor="white", metadata={"Software": None})


if __name__ == "__main__":
    main()
