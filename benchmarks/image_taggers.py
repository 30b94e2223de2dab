"""The image taggers: where the time of an event goes, per module and engine, and what their frames look like.

Usage: python benchmarks/image_taggers.py BACKGROUND.root SIGNAL.root [-o docs/img/top-frames.png]
The files are simulated with --low-level; the picture shows the mean frames of the top tagger.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from quickbeam._base import host_facts, utc_timestamp
from quickbeam.engines import open as open_session
from quickbeam.events import IDENTITY, Frame, columns_of, read_events
from quickbeam.features import Feature, find_feature
from quickbeam.zoo import TAGGERS, Reading
from quickbeam.zoo.labelled import load_labelled

ENGINES = ("onnxruntime", "openvino", "torch")
EVENTS, BATCH = 200, 50


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("background")
    parser.add_argument("signal")
    parser.add_argument("-o", "--output", type=Path, help="picture to draw")
    parser.add_argument("--record", type=Path, help="JSON file to write")
    given = parser.parse_args()
    rows = [row for name in TAGGERS for row in times(name, given.background)]
    for row in rows:
        print(json.dumps(row))
    if given.record is not None:
        record = {"created": utc_timestamp(), "host": host_facts().model_dump(), "rows": rows}
        given.record.write_text(json.dumps(record, indent=1) + "\n")
    if given.output is not None:
        picture(given.background, given.signal, given.output)


def times(name: str, file: str) -> list[dict[str, object]]:
    """Return microseconds per event for reading, frames and the network: event by event, and in batches."""
    feature = find_feature(TAGGERS[name].feature)
    start = time.perf_counter()
    columns = dict(columns_of(next(iter(read_events([file], columns=feature.reads))).events))
    events = len(columns["run"])
    reading_us = (time.perf_counter() - start) / events * 1e6
    whole = Frame({key: columns[key] for key in (*IDENTITY, *feature.reads)}, events)
    found = []
    for engine in ENGINES:
        with open_session(name, engine) as session:
            for events_at_once in (1, BATCH):
                frames_us, network_us, rows = _both(whole, feature, session.run, events_at_once)
                found.append(
                    {
                        "tagger": name,
                        "engine": engine,
                        "events_at_once": events_at_once,
                        "frames_per_event": round(rows, 2),
                        "reading_us": round(reading_us),
                        "frames_us": round(frames_us),
                        "network_us": round(network_us),
                    }
                )
    return found


def _both(
    whole: Frame, feature: Feature, run: Callable[..., object], at_once: int
) -> tuple[float, float, float]:
    """Return the median time per event of frames and of the network, and the number of frames per event."""
    frames_s, network_s, rows = [], [], 0
    events = min(EVENTS, len(whole)) // at_once * at_once
    for start in range(0, events, at_once):
        a = time.perf_counter()
        made = feature.build(whole.rows(start, start + at_once))
        b = time.perf_counter()
        if len(made):
            run(made.inputs)
        c = time.perf_counter()
        frames_s.append((b - a) / at_once)
        network_s.append((c - b) / at_once)
        rows += len(made)
    return float(np.median(frames_s)) * 1e6, float(np.median(network_s)) * 1e6, rows / events


def picture(background: str, signal: str, output: Path) -> None:
    """Draw the mean frame of every channel of the top tagger, signal above background."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.colors import LogNorm

    tagger = TAGGERS["top"]
    kinds = {
        "top": load_labelled(tagger, [signal], signal=True, reading=Reading(most=800)),
        "QCD": load_labelled(tagger, [background], signal=False, reading=Reading(most=800)),
    }
    means = {kind: _mean_frame(one.frames.dense, len(one)) for kind, one in kinds.items()}
    shown = [i for i, name in enumerate(tagger.channels) if name not in ("d0", "dz")]
    figure, axes = plt.subplots(
        2, len(shown), figsize=(13, 4.7), layout="constrained", sharex=True, sharey=True
    )
    half = tagger.size / 2 * np.pi / 180
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
        axes[0, column].set_title(tagger.channels[channel])
        axes[1, column].set_xlabel("$\\eta$ from the jet")
        unit = "hits" if "pixel" in tagger.channels[channel] else "GeV"
        figure.colorbar(
            drawn, ax=axes[:, column], location="bottom", shrink=0.9, label=f"mean {unit} per pixel"
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=75)


def _mean_frame(dense: Callable[[np.ndarray], np.ndarray], count: int) -> np.ndarray:
    total = sum(
        dense(np.arange(start, min(start + 100, count))).sum(axis=0, dtype=np.float64)
        for start in range(0, count, 100)
    )
    return np.asarray(total) / count


if __name__ == "__main__":
    main()
