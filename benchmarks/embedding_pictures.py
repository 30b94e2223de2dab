"""Draw the pictures of the how-to pages that call bundles from coffea, uproot and C++, by running the pages with more events.

Usage: python benchmarks/embedding_pictures.py [-o docs/img]
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "how-to"
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)
EVENTS = 2000


def main() -> None:
    """Run each page, and draw from the values that it leaves."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/img"))
    output = parser.parse_args().output.resolve()
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    for page, draw in (("use-in-coffea", coffea), ("use-in-uproot", uproot), ("use-in-cpp", cpp)):
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            Path("examples").symlink_to(ROOT / "examples")
            sys.path.insert(0, folder)
            draw(run(PAGES / f"{page}.md"), output)
            os.chdir(output)


def run(page: Path) -> dict[str, Any]:
    """Run the blocks of a page in this folder; return the Python variables at its end, before a cluster is started."""
    names: dict[str, Any] = {"__name__": "page"}
    for language, code in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language == "bash":
            many = re.sub(r"-n 60\b", f"-n {EVENTS}", code)
            subprocess.run(["bash", "-euo", "pipefail", "-c", many], check=True)
        elif "distributed" not in code:
            exec(code, names)  # noqa: S102 - our own documentation
    return names


def coffea(names: dict[str, Any], output: Path) -> None:
    """Draw the histograms that the processor filled."""
    from tamis.report.canvas import colour, new_figure, style

    with style():
        figure, axes = new_figure(size=(8.4, 4.2))
        for number, (name, found) in enumerate(names["result"].items()):
            values, edges = found["score"].to_numpy()
            axes.stairs(values / values.sum(), edges, color=colour(number), lw=1.8, label=name)
        axes.set_yscale("log")
        axes.set_xlabel("highest anomaly score of an event")
        axes.set_ylabel("fraction of events / 0.1")
        axes.legend()
        figure.savefig(output / "coffea.png", dpi=110, metadata={"Software": None})


def uproot(names: dict[str, Any], output: Path) -> None:
    """Draw the scores that the loop collected."""
    from tamis.bundle import Bundle
    from tamis.report.canvas import INK, colour, new_figure, style

    scores = [score for score in names["highest"] if score is not None]
    points = Bundle.open("conv-vae").manifest.working_points
    with style():
        figure, axes = new_figure(size=(8.4, 4.2))
        axes.hist(scores, bins=np.linspace(0, 4, 41), histtype="step", color=colour(0), lw=1.8, label="QCD")
        for point, line in zip(points, ("--", ":"), strict=False):
            axes.axvline(point.threshold, color=INK, ls=line, lw=1.2, label=f"working point {point.name}")
        axes.set_yscale("log")
        axes.set_xlabel("highest anomaly score of an event")
        axes.set_ylabel("events / 0.1")
        axes.legend()
        figure.savefig(output / "uproot-loop.png", dpi=110, metadata={"Software": None})


def cpp(names: dict[str, Any], output: Path) -> None:
    """Draw what the plugin computed, and its difference from Python's engines."""
    import tamis
    from tamis.report.canvas import colour, new_figure, style

    found, sizes = names["found"][:, 0], np.concatenate(names["counts"])
    differences = {}
    for engine in ("onnxruntime", "native"):
        with tamis.open("tagger.tamis", engine=engine) as session:
            other = session.run_ragged(names["offsets"], **names["arrays"])["probabilities"][:, 0]
        differences[engine] = 1e7 * (found.astype(np.float64) - other)
    with style():
        figure, axes = new_figure(2, size=(10.4, 4.2))
        axes[0].plot(sizes, found, "o", color=colour(0), ms=3)
        axes[0].set_xlabel("constituents of the jet")
        axes[0].set_ylabel("probability of the first class, from the plugin")
        for number, (engine, values) in enumerate(differences.items()):
            axes[1].plot(
                sizes, values, "o", color=colour(number + 1), ms=3, label=f"engine {engine} in Python"
            )
        axes[1].set_xlabel("constituents of the jet")
        axes[1].set_ylabel("plugin - Python [$10^{-7}$]")
        axes[1].margins(y=0.3)
        axes[1].legend(loc="upper right")
        figure.savefig(output / "cpp-loop.png", dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
