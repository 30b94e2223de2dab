"""Draw the rates of the example trigger from 40 MHz to 1 kHz: the shipped menus `level1` and `hlt-after-level1`.

Usage: python benchmarks/trigger_chain.py FOLDER [-o docs/img]

Samples that FOLDER lacks are simulated first (an hour on two cores); the record of the rates stays there.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from tamis.records import RateRecord
from tamis.report.rates import chain_picture

COMMON = ("--mu", "60", "--level1")
SAMPLES = {  # file: arguments of `tamis simulate`
    "min-bias-102.root": ("min-bias", "-n", "10000", "--seed", "102"),
    "min-bias-103.root": ("min-bias", "-n", "10000", "--seed", "103"),
    "qcd-112.root": ("qcd", "--pt-hat", "30", "--pt-hat-power", "4", "-n", "12000", "--seed", "112"),
    "w-lepton-121.root": ("w-lepton", "-n", "3000", "--seed", "121"),
    "w-prime-121.root": ("w-prime", "-n", "2000", "--seed", "121"),
    "z-prime-tt-121.root": ("z-prime-tt", "-n", "2000", "--seed", "121"),
    "graviton-ww-121.root": ("graviton-ww", "-n", "2000", "--seed", "121"),
    "ttbar-121.root": ("ttbar", "-n", "2000", "--seed", "121"),
}
SAMPLE_LIST = """# What a crossing of 60 collisions consists of; see docs/how-to/level-1-menu.md.
collisions: 60
samples:
  soft: {files: [min-bias-102.root, min-bias-103.root], pt_hat_gev: [0, 30]}
  hard: {files: [qcd-112.root], weight: genWeight, pt_hat_gev: [30, null]}
  w: {files: [w-lepton-121.root]}
  w-prime: {files: [w-prime-121.root], kind: signal}
  z-prime-tt: {files: [z-prime-tt-121.root], kind: signal}
  graviton-ww: {files: [graviton-ww-121.root], kind: signal}
  ttbar: {files: [ttbar-121.root], kind: signal}
"""


def main() -> None:
    """Simulate what is missing, measure the rates, and draw the chain."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/img"))
    parser.add_argument("--target", action="append", default=[], help="PATH=RATE, as of `tamis rates`")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    folder.mkdir(parents=True, exist_ok=True)
    for name, options in SAMPLES.items():
        if not (folder / name).exists():
            tamis("simulate", *options, *COMMON, "-o", str(folder / name))
    listed = folder / "chain.yaml"
    listed.write_text(SAMPLE_LIST)
    targets = [part for target in arguments.target for part in ("--target", target)]
    rates = ("level1", str(listed), "--input-rate", "40MHz", "--then", "hlt-after-level1")
    tamis("rates", *rates, *targets, "-o", str(folder / "chain"))
    record = RateRecord.model_validate_json((folder / "chain" / "rates-2.json").read_text())
    chain_picture(record).figure.savefig(
        arguments.output / "trigger-chain.png", dpi=110, metadata={"Software": None}
    )


def tamis(*arguments: str) -> None:
    """Run a command."""
    subprocess.run([sys.executable, "-m", "tamis", *arguments], check=True)


if __name__ == "__main__":
    main()
