"""The peer of the race: HGQ2 trains a jet tagger with bit widths of its own, and alkaid makes its Verilog; run in a Python that has both.

As in HGQ2's example for the same sixteen features: dense layers with folded batch normalisation, a width for each weight and each
value, and a weight of the EBOPs that grows through the training, so that one training walks along the whole front.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import time
import warnings
from pathlib import Path

os.environ["KERAS_BACKEND"] = "torch"  # read when keras is imported
warnings.filterwarnings("ignore")

import keras  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from hgq.config import LayerConfigScope, QuantizerConfigScope  # noqa: E402
from hgq.layers import QEinsumDenseBatchnorm  # noqa: E402
from hgq.utils import trace_minmax  # noqa: E402
from hgq.utils.sugar import BetaScheduler, FreeEBOPs, PieceWiseSchedule  # noqa: E402

BATCH = 512
BETA = (2e-7, 3e-5)  # first and last
WIDTHS = (64, 32, 32)  # hidden layers, as those of the tagger that we begin with
POINTS_MAX = 8
TRACED_ROWS = 20_000


class CpuBudget(keras.callbacks.Callback):
    """Writes the history with the CPU time spent, and the model whenever it is on the front of the validation rows."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder, self.history = folder, []

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Record an epoch."""
        logs = logs or {}
        row = {"epoch": epoch, "cpu_seconds": cpu_seconds()} | {
            key: float(value) for key, value in logs.items()
        }
        beaten = any(
            one["val_accuracy"] >= row["val_accuracy"] and one["ebops"] <= row["ebops"]
            for one in self.history
        )
        self.history.append(row)
        if not beaten:
            self.model.save_weights(self.folder / f"epoch-{epoch:04d}.weights.h5")
        (self.folder / "history.json").write_text(json.dumps(self.history, indent=1))
        print(json.dumps(row), flush=True)


def cpu_seconds() -> float:
    """Return the CPU time of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def build() -> keras.Model:
    """Return the network of HGQ2's example, as wide as ours."""
    weights = QuantizerConfigScope(
        place="all", k0=1, b0=3, i0=0, default_q_type="kbi", overflow_mode="sat_sym"
    )
    values = QuantizerConfigScope(place="datalane", default_q_type="kif", overflow_mode="wrap", f0=3, i0=3)
    with weights, values, LayerConfigScope(enable_ebops=True, beta0=BETA[0]):
        hidden = [
            QEinsumDenseBatchnorm("bc,cC->bC", width, bias_axes="C", activation="relu") for width in WIDTHS
        ]
        return keras.Sequential(
            [keras.layers.Input((16,)), *hidden, QEinsumDenseBatchnorm("bc,cC->bC", 5, bias_axes="C")]
        )


def train(rows: dict[str, np.ndarray], epochs: int, seed: int, folder: Path) -> keras.Model:
    """Train with a growing weight of the cost."""
    keras.utils.set_random_seed(seed)
    torch.set_num_threads(1)
    model = build()
    steps = -(-len(rows["x"]) // BATCH)
    rate = keras.optimizers.schedules.CosineDecayRestarts(
        5e-3, steps * max(1, epochs // 5), t_mul=1.0, m_mul=0.94, alpha=1e-3
    )
    model.compile(
        optimizer=keras.optimizers.Adam(rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    warm = max(1, epochs // 8)
    schedule = PieceWiseSchedule(
        [(0, BETA[0], "constant"), (warm, BETA[0], "log"), (epochs, BETA[1], "constant")]
    )
    model.fit(
        rows["x"],
        rows["y"],
        validation_data=(rows["x_validation"], rows["y_validation"]),
        batch_size=BATCH,
        epochs=epochs,
        verbose=0,
        callbacks=[FreeEBOPs(), BetaScheduler(schedule), CpuBudget(folder)],
    )
    return model


def front(history: list[dict[str, float]], folder: Path) -> list[dict[str, float]]:
    """Return up to POINTS_MAX epochs that no other beats in accuracy and EBOPs, spread over the EBOPs."""
    ordered = sorted(history, key=lambda row: (row["ebops"], -row["val_accuracy"]))
    best, kept = 0.0, []
    for row in ordered:
        if row["val_accuracy"] > best and (folder / f"epoch-{int(row['epoch']):04d}.weights.h5").exists():
            best = row["val_accuracy"]
            kept.append(row)
    if len(kept) > POINTS_MAX:
        wanted = np.linspace(kept[0]["val_accuracy"], kept[-1]["val_accuracy"], POINTS_MAX)
        accuracies = np.array([row["val_accuracy"] for row in kept])
        kept = [kept[i] for i in sorted({int(np.abs(accuracies - one).argmin()) for one in wanted})]
    return kept


def write_point(
    model: keras.Model, rows: dict[str, np.ndarray], clock_mhz: float, folder: Path
) -> dict[str, float]:
    """Write alkaid's Verilog of a model, and return its test accuracy by the emulation of the logic."""
    from alkaid.codegen import RTLModel
    from alkaid.converter import trace_model
    from alkaid.trace import trace

    trace_minmax(model, rows["x"], batch_size=TRACED_ROWS)
    inputs, outputs = trace_model(model)
    logic = trace(inputs, outputs)
    RTLModel(logic, folder, "peer", latency_cutoff=1e3 / clock_mhz, print_latency=False).write()
    predicted = logic.predict(rows["x_test"])
    right = predicted.argmax(1) == rows["y_test"]
    keras_right = model.predict(rows["x_test"], batch_size=TRACED_ROWS, verbose=0).argmax(1) == rows["y_test"]
    return {
        "accuracy": float(right.mean()),
        "keras_accuracy": float(keras_right.mean()),
        "cost_estimate": float(logic.cost),
    }


def main() -> None:
    """Train, and write Verilog and accuracy of every point of the front."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", type=Path, help="npz of x, y, x_validation, y_validation, x_test, y_test")
    parser.add_argument("output", type=Path)
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--no-points", action="store_true", help="train only")
    parser.add_argument("--clock", type=float, default=240.0, help="MHz")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    with np.load(given.rows) as file:
        rows = {name: file[name] for name in file.files}
    model = train(rows, given.epochs, given.seed, given.output)
    history = json.loads((given.output / "history.json").read_text())
    points = []
    for row in [] if given.no_points else front(history, given.output):
        begun = time.monotonic()
        model.load_weights(given.output / f"epoch-{int(row['epoch']):04d}.weights.h5")
        folder = given.output / f"point-{int(row['epoch']):04d}"
        points.append(
            row
            | write_point(model, rows, given.clock, folder)
            | {"folder": str(folder), "seconds": time.monotonic() - begun}
        )
        print(json.dumps(points[-1]), flush=True)
    (given.output / "points.json").write_text(json.dumps(points, indent=1))


if __name__ == "__main__":
    main()
