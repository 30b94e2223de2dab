"""The loss of a top tagger by quantisation to 8 bits, before and after tuning: accuracy, AUC, rejection at 30 % signal efficiency.

Usage: python benchmarks/top_resnet.py QCD.root TOPS.root top-resnet top-resnet-int8.tamis top-resnet-int8-tuned.tamis
       [-o docs/img/top-resnet.png] [--record benchmarks/records/top-resnet-DATE.json]
Use files with other seeds than those of the training. All bundles score the same frames, resampled to a common jet pT spectrum.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

import tamis
from tamis._base import host_facts, utc_timestamp
from tamis.bundle import Bundle
from tamis.measure.physics.tagging import tagged_frames, tagged_samples
from tamis.report.canvas import LINES, colour, label, new_figure, save, style
from tamis.zoo import ReadOptions

SIGNAL_EFFICIENCY = 0.3
BOOTSTRAPS = 200
VARIABLES = ("jet mass", "-tau21")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("background")
    parser.add_argument("signal")
    parser.add_argument("bundles", nargs="+")
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/img/top-resnet.png"))
    parser.add_argument("--record", type=Path)
    options = parser.parse_args()
    scores = scored(options.background, options.signal, options.bundles)
    table = {name: figures(*pair) for name, pair in scores.items()}
    for name, found in table.items():
        print(f"{name:24}", *(f"{key} {value[0]:.4f} ± {value[1]:.4f}" for key, value in found.items()))
    first, *others = list(scores)[: len(options.bundles)]
    gaps = {name: difference(scores[first], scores[name]) for name in others}
    for name, found in gaps.items():
        changes = (f"{key} {value[0]:+.4f} ± {value[1]:.4f}" for key, value in found.items())
        print(f"{name} minus {first}, on the same jets:", *changes)
    draw(scores, table, options.output)
    if options.record:
        facts = {
            "kind": "top-resnet",
            "created": utc_timestamp(),
            "host": host_facts().model_dump(),
            "frames": {
                name: len(values)
                for name, values in zip(("background", "signal"), next(iter(scores.values())), strict=True)
            },
            "models": {
                name: Bundle.open(name).manifest.files["model.onnx"].sha256 for name in options.bundles
            },
            "figures": table,
            f"less_{first}": gaps,
        }
        options.record.write_text(json.dumps(facts, indent=1) + "\n")


def scored(background: str, signal: str, bundles: list[str]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the values for background and signal of every bundle and simple variable."""
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    files = {"background": [background], "signal": [signal]}
    for place in bundles:
        with tamis.open(place) as session:
            frames = tagged_frames(session.bundle)
            samples = tagged_samples(session, frames, files, seed=0, reading=ReadOptions())
        (first, _), (second, _) = samples["background"], samples["signal"]
        found[session.bundle.name] = (first.values["score"], second.values["score"])
        simple = {name: (first.values[name], second.values[name]) for name in VARIABLES}
    return found | simple


def figures(background: np.ndarray, signal: np.ndarray) -> dict[str, tuple[float, float]]:
    """Return figures of merit with their bootstrap standard errors."""
    rng = np.random.default_rng(0)
    whole = _figures(background, signal)
    replicas = [
        _figures(rng.choice(background, len(background)), rng.choice(signal, len(signal)))
        for _ in range(BOOTSTRAPS)
    ]
    return {
        name: (value, float(np.std([replica[name] for replica in replicas], ddof=1)))
        for name, value in whole.items()
    }


def difference(
    first: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]
) -> dict[str, tuple[float, float]]:
    """Return the differences of the figures of merit, second minus first, with bootstrap errors from common replicas."""
    rng = np.random.default_rng(0)
    whole, replicas = _gap(first, other), []
    for _ in range(BOOTSTRAPS):
        rows = [rng.integers(0, len(values), len(values)) for values in first]
        drawn = [
            tuple(values[kept] for values, kept in zip(pair, rows, strict=True)) for pair in (first, other)
        ]
        replicas.append(_gap(*drawn))
    return {
        name: (value, float(np.std([replica[name] for replica in replicas], ddof=1)))
        for name, value in whole.items()
    }


def _gap(first: tuple[np.ndarray, ...], other: tuple[np.ndarray, ...]) -> dict[str, float]:
    before, after = _figures(*first), _figures(*other)
    return {name: after[name] - before[name] for name in before}


def _figures(background: np.ndarray, signal: np.ndarray) -> dict[str, float]:
    threshold = np.quantile(signal, 1.0 - SIGNAL_EFFICIENCY)
    ordered = np.sort(background)
    below = (np.searchsorted(ordered, signal, "left") + np.searchsorted(ordered, signal, "right")) / 2
    passing = max(float(np.mean(background > threshold)), 0.5 / len(background))
    probability = signal.min() >= 0.0 and signal.max() <= 1.0
    right = {"accuracy": float(np.mean(signal > 0.5) + np.mean(background <= 0.5)) / 2} if probability else {}
    return right | {"AUC": float(below.mean() / len(background)), "rejection": 1.0 / passing}


def draw(
    scores: dict[str, tuple[np.ndarray, np.ndarray]],
    table: dict[str, dict[str, tuple[float, float]]],
    output: Path,
) -> None:
    """Draw the background rejection against the efficiency for tops."""
    with style():
        figure, axes = new_figure(size=(6.8, 5.2))
        for index, (name, (background, signal)) in enumerate(scores.items()):
            efficiency = np.linspace(0.05, 1.0, 96)
            thresholds = np.quantile(signal, 1.0 - efficiency)
            passing = np.array([np.mean(background > t) for t in thresholds])
            seen = passing * len(background) >= 10
            legend = f"{name}: AUC {table[name]['AUC'][0]:.4f}"
            axes.plot(
                efficiency[seen],
                1.0 / passing[seen],
                label=legend,
                color=colour(index),
                linestyle=LINES[index],
            )
        axes.axvline(SIGNAL_EFFICIENCY, color="0.6", linestyle=":", lw=1.2)
        axes.set_yscale("log")
        axes.set_xlim(0.0, 1.0)
        axes.set_xlabel("efficiency for tops")
        axes.set_ylabel("1 / efficiency for other jets")
        axes.legend(loc="upper right", fontsize=10)
        label(axes, "", f"simulation, {len(signal):,} jets per class")
        save(figure, output.parent, output.stem)
        output.with_suffix(".pdf").unlink()


if __name__ == "__main__":
    main()
