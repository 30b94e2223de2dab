"""The native engine against the best of ONNX Runtime and OpenVINO, per model and batch size, warm and with evicted caches.

All engines run on bound buffers, one thread, in float32. The two runtimes also run in chunks of 64 and 256 events; the ratio is to the
best of them in each round, all interleaved in one run. `auto` follows a plan that is measured first.

Usage: python benchmarks/native_speed.py [--models conv-vae,...] [--batch 1,8,...] [--seconds 4] [--auto] [--figure native-speed.png] [--keep]
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import onnx
from onnx.utils import Extractor

from tamis._base import file_stamp, host_facts, progress, utc_timestamp
from tamis.bundle import Bundle, add_texts, pack
from tamis.engines import Session, find_engine, plan_name
from tamis.engines import open as open_session
from tamis.measure import (
    TimingPlan,
    floor_ns,
    interleave,
    interleave_cold,
    measure_roofline,
)
from tamis.tuning import Tuning, choose_engines, measure_engines

FOLDER = Path(__file__).parent / "records"
ENCODER = "conv-vae encoder"
MODELS = (
    ENCODER, "conv-vae", "graph-vae", "facile", "topology-gru", "topology-lstm", "topology-hlf", "topology-both",
    "egamma", "quark-gluon", "top", "tau", "em-trk-michel", "top-resnet",
)  # fmt: skip
BATCHES = (1, 8, 16, 64, 256, 1024)
MORE = {"facile": (16_000,)}
LARGE = 5000  # input elements per event: larger models are measured up to 64 events
CHUNKS = (64, 256)
RUNTIMES = ("onnxruntime", "openvino")
COLD_ROUNDS = 40


def bundle_of(name: str, folder: Path) -> Bundle:
    """Return a shipped bundle, or the encoder of one."""
    if name != ENCODER:
        return Bundle.open(name)
    whole = Bundle.open("conv-vae")
    model = onnx.shape_inference.infer_shapes(onnx.load_model_from_string(whole.model_bytes))
    part = Extractor(model).extract_model(["jets"], ["/encoder/z_mean/Gemm_output_0"])
    return pack(
        part, folder / "encoder.tamis", inputs={"jets": whole.golden.inputs["jets"]}, rewrites=False
    ).bundle


def tuned(bundle: Bundle, batches: Sequence[int], folder: Path) -> Bundle:
    """Return a copy of a bundle with a plan for this host."""
    engines = (*RUNTIMES, "native")
    measured, refused = measure_engines(bundle, Tuning(engines, tuple(batches), cold=False))
    plan = choose_engines(bundle, measured, refused=refused)
    return add_texts(bundle, {plan_name(): plan.model_dump_json()}, folder / f"{bundle.name}-tuned.tamis")


def events(bundle: Bundle, count: int) -> list[np.ndarray]:
    """Return `count` golden events, repeated as necessary."""
    inputs = [bundle.golden.inputs[spec.name] for spec in bundle.manifest.signature.inputs]
    return [np.ascontiguousarray(array[np.arange(count) % len(array)]) for array in inputs]


def contestants(bundle: Bundle, stack: ExitStack, most: int) -> dict[str, Session]:
    """Open every engine, the runtimes also with chunks."""
    found = {"native": stack.enter_context(open_session(bundle, "native"))}
    for name in RUNTIMES:
        for chunk in (most, *CHUNKS):
            label = name if chunk == most else f"{name} in {chunk}s"
            found[label] = stack.enter_context(open_session(bundle, name, chunk=chunk))
    return found


def calls_at(sessions: dict[str, Session], bundle: Bundle, batch: int) -> dict[str, Callable[[], object]]:
    """Bind every session; those whose chunk is not smaller than the batch are left out."""
    usable = {
        label: session
        for label, session in sessions.items()
        if " in " not in label or int(label.split(" in ")[1][:-1]) < batch
    }
    return {label: session.bind(*events(bundle, batch)) for label, session in usable.items()}


def ratios(blocks: dict[str, list[float]], of: str = "native") -> np.ndarray:
    """Return for each round the time of the best runtime over that of an engine."""
    rounds = min(len(one) for one in blocks.values())
    best = np.min([v[:rounds] for k, v in blocks.items() if k.startswith(RUNTIMES)], axis=0)
    return best / np.asarray(blocks[of][:rounds])


def measure(name: str, options: argparse.Namespace, folder: Path) -> list[dict[str, object]]:
    """Measure one model at all its batch sizes; the roofline just before, since a shared host drifts."""
    roofline = measure_roofline()
    bundle = bundle_of(name, folder)
    size = sum(one[0].size for one in events(bundle, 1))
    batches = [b for b in (*options.batches, *MORE.get(name, ())) if size < LARGE or b <= 64]
    rng = np.random.default_rng(0)
    plan = TimingPlan(rounds=25, block_ns=8_000_000, budget_ns=int(options.seconds * 1e9), least_rounds=7)
    rows = []
    with ExitStack() as stack:
        sessions = contestants(bundle, stack, max(batches))
        if options.auto:
            sessions["auto"] = stack.enter_context(open_session(tuned(bundle, batches, folder), "auto"))
        for batch in batches:
            calls = calls_at(sessions, bundle, batch)
            warm = {label: found.block_medians_ns for label, found in interleave(calls, plan, rng).items()}
            over = ratios(warm)
            row: dict[str, object] = {
                "model": name,
                "batch": batch,
                "us": {label: float(np.median(one)) / 1e3 for label, one in warm.items()},
                "ratio": float(np.median(over)),
                "quartiles": [float(q) for q in np.percentile(over, [25, 75])],
                "rounds": len(over),
            }
            cost = bundle.manifest.cost
            if cost is not None:
                row["over_floor"] = float(np.median(warm["native"])) / floor_ns(cost, batch, roofline)
                row["peak_gflops"] = roofline.flops_per_second / 1e9
            if options.auto:
                own = {k: v for k, v in warm.items() if k != "auto"}
                fastest = min(own, key=lambda k: float(np.median(own[k])))
                count = min(len(own[fastest]), len(warm["auto"]))
                row["auto_over_fastest"] = float(
                    np.median(np.asarray(warm["auto"][:count]) / np.asarray(own[fastest][:count]))
                )
                row["fastest"] = fastest
            if batch == 1:
                evict = 4 * host_facts().largest_cache_bytes
                cold = {
                    k: v.block_medians_ns for k, v in interleave_cold(calls, COLD_ROUNDS, evict, rng).items()
                }
                row["cold_us"] = {label: float(np.median(one)) / 1e3 for label, one in cold.items()}
                row["cold_ratio"] = float(np.median(ratios(cold)))
            rows.append(row)
            show(row)
    return rows


def show(row: dict[str, object]) -> None:
    """Print one line of results."""
    us = row["us"]
    text = f"{row['model']:18} {row['batch']:6} native {us['native']:10.1f}"
    for runtime in RUNTIMES:
        text += f"  {runtime} {min(v for k, v in us.items() if k.startswith(runtime)):10.1f}"
    text += f"  ratio {row['ratio']:6.2f} ({row['quartiles'][0]:.2f} to {row['quartiles'][1]:.2f})"
    text += f"  x floor {row['over_floor']:.2f}" if "over_floor" in row else ""
    text += (
        f"  cold {row['cold_us']['native']:.0f} us, ratio {row['cold_ratio']:.2f}" if "cold_us" in row else ""
    )
    text += f"  auto / {row['fastest']} {row['auto_over_fastest']:.3f}" if "fastest" in row else ""
    print(text, flush=True)


def table(rows: list[dict[str, object]]) -> str:
    """Return the ratios as a Markdown table."""
    batches = sorted({int(row["batch"]) for row in rows})
    lines = [
        f"| model | {' | '.join(map(str, batches))} | 1, caches evicted |",
        "|---" * (len(batches) + 2) + "|",
    ]
    for name in dict.fromkeys(str(row["model"]) for row in rows):
        at = {row["batch"]: row for row in rows if row["model"] == name}
        cells = [f"{at[batch]['ratio']:.1f}" if batch in at else "" for batch in batches]
        cold = f"{at[1]['cold_ratio']:.1f}" if 1 in at else ""
        lines.append(f"| {name} | {' | '.join(cells)} | {cold} |")
    return "\n".join(lines)


def draw(rows: list[dict[str, object]], path: Path) -> None:
    """Draw the ratios against the batch size."""
    from matplotlib import pyplot as plt

    plt.rcParams.update({"font.size": 11, "svg.hashsalt": "tamis"})
    figure, axes = plt.subplots(figsize=(9, 5.2), layout="constrained")
    names = list(dict.fromkeys(str(row["model"]) for row in rows))
    colours = plt.get_cmap("tab20")(np.linspace(0, 1, len(names)))
    for name, colour in zip(names, colours, strict=True):
        own = [row for row in rows if row["model"] == name]
        axes.plot(
            [r["batch"] for r in own], [r["ratio"] for r in own], "o-", color=colour, label=name, lw=1.6, ms=4
        )
    axes.axhline(1.0, color="0.3", lw=1, ls="--")
    axes.text(15_000, 1.02, "equal", color="0.3", va="bottom", ha="right", fontsize=9)
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="events per call",
        ylabel="speed relative to the best of ONNX Runtime and OpenVINO",
    )
    ticks = [0.7, 1, 2, 3, 5, 10, 20, 50]
    axes.set_yticks(ticks, [f"{t:g}" for t in ticks])
    axes.set_xticks([1, 8, 64, 256, 1024, 16000], ["1", "8", "64", "256", "1024", "16000"])
    axes.minorticks_off()
    axes.grid(alpha=0.25)
    axes.legend(fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--batch", default=",".join(map(str, BATCHES)))
    parser.add_argument("--seconds", type=float, default=4.0, help="per model and batch size, about")
    parser.add_argument("--auto", action="store_true", help="tune first, and measure `auto` too")
    parser.add_argument("--keep", action="store_true", help="write the record into benchmarks/records")
    parser.add_argument("--figure", type=Path, help="file for the figure of the ratios")
    options = parser.parse_args()
    options.batches = tuple(int(part) for part in options.batch.split(","))
    find_engine("native").prepare()
    rows: list[dict[str, object]] = []
    models = options.models.split(",")
    with tempfile.TemporaryDirectory() as folder, progress("measuring", len(models), "models") as advance:
        for name in models:
            rows += measure(name, options, Path(folder))
            advance(1)
    print(table(rows))
    if options.figure:
        draw(rows, options.figure)
    if options.keep:
        record = {
            "kind": "native-speed",
            "created": utc_timestamp(),
            "host": host_facts().model_dump(),
            "seconds": options.seconds,
            "rows": rows,
        }
        path = FOLDER / f"native-speed-{file_stamp(record['created'])}.json"
        path.write_text(json.dumps(record, indent=1) + "\n")
        print(path)


if __name__ == "__main__":
    main()
