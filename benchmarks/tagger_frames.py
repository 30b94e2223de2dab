"""Draw the inputs of the image taggers: the mean frame of every channel of the top tagger, signal above background.

Usage: python benchmarks/tagger_frames.py BACKGROUND.root SIGNAL.root [-o docs/img/top-frames.png]
Simulate the files with --low-level.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from tamis.features.frames import JET_PIXELS, TOP_FRAMES
from tamis.zoo import ReadOptions, TaggedFrames
from tamis.zoo.networks import Store
from tamis.zoo.networks.simple_net import TOP_TAGGER

MOST = 800  # frames of each kind


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("background")
    parser.add_argument("signal")
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/img/top-frames.png"))
    options = parser.parse_args()
    picture(options.background, options.signal, options.output)


def picture(background: str, signal: str, output: Path) -> None:
    """Draw the mean frame of every channel of the top tagger, signal above background."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.colors import LogNorm

    frames = TaggedFrames.of(TOP_TAGGER)
    kinds = {
        "top": frames.load([signal], "signal", ReadOptions(MOST)),
        "QCD": frames.load([background], "background", ReadOptions(MOST)),
    }
    means = {kind: _mean_frame(one.inputs["frames"]) for kind, one in kinds.items()}
    shown = [i for i, name in enumerate(TOP_FRAMES.channels) if name not in ("d0", "dz")]
    figure, axes = plt.subplots(
        2, len(shown), figsize=(13, 4.7), layout="constrained", sharex=True, sharey=True
    )
    half = JET_PIXELS / 2 * np.pi / 180
    for column, channel in enumerate(shown):
        top = max(float(mean[channel].max()) for mean in means.values())
        for row, (kind, mean) in enumerate(means.items()):
            drawn = axes[row, column].imshow(
                mean[channel].T + top * 1e-6,
                origin="lower",
                extent=(-half, half, -half, half),
                norm=LogNorm(top * 1e-3, top),
                cmap="magma",
            )
            if column == 0:
                axes[row, 0].set_ylabel(f"{kind}\n$\\phi$ from the jet")
        axes[0, column].set_title(TOP_FRAMES.channels[channel])
        axes[1, column].set_xlabel("$\\eta$ from the jet")
        unit = "hits" if "pixel" in TOP_FRAMES.channels[channel] else "GeV"
        figure.colorbar(
            drawn, ax=axes[:, column], location="bottom", shrink=0.9, label=f"mean {unit} per pixel"
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=75)


def _mean_frame(frames: Store) -> np.ndarray:
    total = sum(
        frames[np.arange(start, min(start + 100, len(frames)))].sum(axis=0, dtype=np.float64)
        for start in range(0, len(frames), 100)
    )
    return np.asarray(total) / len(frames)


if __name__ == "__main__":
    main()
