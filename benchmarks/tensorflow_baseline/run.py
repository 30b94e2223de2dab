"""The TensorFlow figures of the 2022 study: the Conv-VAE through `model.predict` and `tf.function`, against ONNX Runtime.

Runs in a separate environment (requirements.txt) without tamis and reads the shipped model.onnx as a file. The TensorFlow model has the
same layers and the same Chamfer score; its weights are random, since the time does not depend on them.

Usage: python run.py [model.onnx]
"""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter_ns

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np
import onnxruntime as ort
import tensorflow as tf

HERE = Path(__file__).parent
MODEL = HERE.parents[1] / "src/tamis/zoo/bundles/conv-vae.tamis/model.onnx"
BATCHES = (1, 8, 16, 64, 256, 1024)
ROUNDS = 20
TURN_NS = 12_000_000


def build() -> tf.keras.Model:
    layers = tf.keras.layers
    jets = tf.keras.Input((100, 3))
    h = layers.Normalization(mean=[0.0, 0.0, 8.0], variance=[0.1, 0.1, 200.0])(jets)
    h = layers.Reshape((100, 3, 1))(h)
    h = layers.Conv2D(16, (3, 3), activation="relu")(h)
    h = layers.Reshape((98, 16))(h)
    h = layers.Conv1D(20, 3, activation="relu")(h)
    h = layers.Conv1D(24, 3, activation="relu")(h)
    h = layers.AveragePooling1D(2)(h)
    h = layers.Flatten()(h)
    h = layers.Dense(136, activation="relu")(h)
    h = layers.Dense(32, activation="relu")(h)
    z = layers.Dense(8)(h)
    h = layers.Dense(32, activation="relu")(z)
    h = layers.Dense(136, activation="relu")(h)
    h = layers.Dense(1128, activation="relu")(h)
    h = layers.Reshape((47, 24))(h)
    h = layers.UpSampling1D(2)(h)
    h = layers.Conv1DTranspose(20, 3, activation="relu")(h)
    h = layers.Conv1DTranspose(16, 3, activation="relu")(h)
    h = layers.Reshape((98, 1, 16))(h)
    h = layers.Conv2DTranspose(1, (3, 3))(h)
    rebuilt = layers.Reshape((100, 3))(h)
    return tf.keras.Model(jets, Chamfer()([jets, rebuilt]))


class Chamfer(tf.keras.layers.Layer):
    """The Chamfer distance in the same form as in the shipped graph."""

    def call(self, pair):
        x, y = pair
        distances = 0.0
        for k in range(3):
            gap = x[:, :, k, None] - y[:, None, :, k]
            distances = distances + gap * gap
        return tf.reduce_sum(tf.reduce_min(distances, 2) + tf.reduce_min(distances, 1), 1)


def main(path: Path) -> None:
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    model = build()
    compiled = tf.function(model, jit_compile=False)
    session_options = ort.SessionOptions()
    session_options.intra_op_num_threads = 1
    session = ort.InferenceSession(path.read_bytes(), session_options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    rows = []
    for batch in BATCHES:
        jets = rng.normal(0, 0.2, (batch, 100, 3)).astype(np.float32)
        jets[:, :, 2] = np.sort(rng.exponential(8, (batch, 100)), 1)[:, ::-1]
        calls = {
            "onnxruntime": lambda jets=jets: session.run(["score"], {"jets": jets}),
            "tf.function": lambda jets=jets: compiled(tf.constant(jets)).numpy(),
            "model.predict": lambda jets=jets: model.predict(jets, batch_size=len(jets), verbose=0),
        }
        times = {name: [] for name in calls}
        for call in calls.values():
            call(), call()
        for _ in range(ROUNDS):
            for name in rng.permutation(list(calls)):
                times[name].append(turn(calls[name]))
        base = np.array(times["onnxruntime"])
        for name, found in times.items():
            row = {
                "engine": name,
                "batch": batch,
                "p50_ns": float(np.median(found)),
                "ratio_to_onnxruntime": float(np.median(np.array(found) / base)),
            }
            rows.append(row)
            print(
                f"batch {batch:5d} {name:14s} {row['p50_ns'] / 1e3:10.1f} us  x{row['ratio_to_onnxruntime']:.1f}",
                flush=True,
            )
    created = datetime.now(UTC).isoformat(timespec="seconds")
    record = {
        "kind": "tensorflow-baseline",
        "created": created,
        "host": {"cpu": _cpu(), "system": platform.platform(), "python": platform.python_version()},
        "versions": {"tensorflow": tf.__version__, "onnxruntime": ort.__version__, "numpy": np.__version__},
        "threads": 1,
        "rounds": ROUNDS,
        "rows": rows,
    }
    stamp = created[:19].replace(":", "").replace("-", "")
    target = HERE.parent / "records" / f"tensorflow-{stamp}.json"
    target.write_text(json.dumps(record, indent=1) + "\n")
    print(target)


def turn(call: Callable[[], object]) -> float:
    """Return the median time of about ten milliseconds of calls, after one call that warms the caches."""
    call()
    found: list[int] = []
    while sum(found) < TURN_NS:
        begin = perf_counter_ns()
        call()
        found.append(perf_counter_ns() - begin)
    return float(np.median(found))


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine()
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else MODEL)
