"""Draw the inputs of EmTrkMichelId: patches of the wire plane around hits of tracks, showers and Michel electrons.

Usage: python benchmarks/wire_patches.py [-o docs/img/wire-patches.png]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from tamis.simulate import simulate_sample
from tamis.simulate.samples.argon_patches import PATCH, PATCH_CLASSES

EACH, SEED = 6, 11


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/img/wire-patches.png"))
    picture(parser.parse_args().output)


def picture(output: Path) -> None:
    """Draw some patches of every class, each from a different event."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    sample = next(simulate_sample("wire-patches", 400, seed=SEED))
    figure, axes = plt.subplots(
        len(PATCH_CLASSES), EACH, figsize=(12.5, 6.4), layout="constrained", sharex=True, sharey=True
    )
    half = PATCH / 2
    for number, name in enumerate(PATCH_CLASSES):
        rows = np.flatnonzero(sample["label"] == number)
        rows = rows[np.unique(rows // 10, return_index=True)[1]][
            :EACH
        ]  # ten consecutive patches belong to one event
        for column, row in enumerate(rows):
            frame = axes[number, column]
            drawn = frame.imshow(
                sample["patches"][row, 0].T,
                origin="lower",
                extent=(-half, half, -half, half),
                vmin=0.0,
                vmax=4.0,
                cmap="magma",
            )
            frame.plot(0.5, 0.5, "s", ms=7, mfc="none", mec="cyan", mew=1.2)
        axes[number, 0].set_ylabel(f"{name}\ndrift [6 ticks]")
    for frame in axes[-1]:
        frame.set_xlabel("wire")
    figure.colorbar(drawn, ax=axes, label="MeV", pad=0.01)
    figure.savefig(output, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
