"""The tamis server against NVIDIA Triton: the same ONNX file, ONNX Runtime on one thread, the same load generator.

Triton runs the file in its Python backend (model.py next to this script), tamis from the same Triton repository. Both servers
run all the time and are loaded in turn, in alternating order; ratios are medians over turns. Before that, both must return the
same outputs. Neither server is pinned to a core: the load generator shares the machine with them.

Usage: python benchmarks/triton_comparison/run.py [--model facile=PATH.tamis] [--seconds 3] [--turns 5] [--keep]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import tritonclient.grpc as grpc

from tamis._base import file_stamp, host_facts, utc_timestamp
from tamis.bundle import Bundle, Tensor
from tamis.measure.traffic import LoadTarget
from tamis.records import Scenario, Traffic
from tamis.serve.export import triton_server

POINTS = (("facile", 1), ("facile", 16_000), ("conv-vae", 18))
STREAMS = (1, 8, 32)
CONFIG = """name: "{name}"
{kind}
max_batch_size: 65536
input [ {inputs} ]
output [ {outputs} ]
dynamic_batching {{ }}
instance_group [ {{ count: 1, kind: KIND_CPU }} ]
"""


def repository(folder: Path, bundles: dict[str, Bundle], *, python: bool) -> Path:
    """Write a model repository for one of the servers."""
    for name, bundle in bundles.items():
        version = folder / name / "1"
        version.mkdir(parents=True)
        shutil.copy(bundle.path / "model.onnx", version / "model.onnx")
        if python:
            shutil.copy(Path(__file__).with_name("model.py"), version / "model.py")
        signature = bundle.manifest.signature
        kind = 'backend: "python"' if python else 'platform: "onnxruntime_onnx"'
        inputs, outputs = (", ".join(map(described, one)) for one in (signature.inputs, signature.outputs))
        text = CONFIG.format(name=name, kind=kind, inputs=inputs, outputs=outputs)
        (folder / name / "config.pbtxt").write_text(text)
    return folder


def described(tensor: Tensor) -> str:
    """Return an input or output in Triton's configuration format; a scalar per row is a row of one."""
    row = tensor.shape[1:]
    dims = ", ".join(map(str, row or (1,)))
    bare = "" if row else ", reshape: { shape: [ ] }"
    return f'{{ name: "{tensor.name}", data_type: TYPE_FP32, dims: [ {dims} ]{bare} }}'


@contextlib.contextmanager
def our_server(models: Path) -> Iterator[str]:
    """Start the tamis server as a process; yield its gRPC address."""
    command = [
        sys.executable,
        "-m",
        "tamis",
        "serve",
        str(models),
        "--grpc",
        "0",
        "--no-http",
        "--metrics",
        "0",
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        address = ""
        for line in process.stderr:
            if found := re.match(r"grpc: grpc://(\S+)", line):
                address = found[1]
            if line.startswith("ready"):
                break
            if line.startswith(("not ready", "tamis:")):
                sys.exit(f"our server: {line}")
        yield address
    finally:
        process.terminate()
        process.wait(30)


def check_outputs(ours: str, theirs: str, bundles: dict[str, Bundle]) -> None:
    """Compare the outputs of both servers for the golden events."""
    for name, bundle in bundles.items():
        found = []
        for address in (ours, theirs):
            with grpc.InferenceServerClient(address) as client:
                inputs = []
                for one in bundle.manifest.signature.inputs:
                    array = np.ascontiguousarray(bundle.golden.inputs[one.name])
                    inputs.append(grpc.InferInput(one.name, array.shape, "FP32"))
                    inputs[-1].set_data_from_numpy(array)
                answer = client.infer(name, inputs)
                found.append([answer.as_numpy(one.name) for one in bundle.manifest.signature.outputs])
        for one, other in zip(*found, strict=True):
            if not one.size:
                sys.exit(f"a server returns empty outputs for {name}")
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def compared(ours: str, theirs: str, model: str, rows: int, streams: int, turns: int, seconds: float) -> dict:
    """Load both servers in turn; return their rates, latencies and ratios."""
    targets = {"ours": LoadTarget(ours, model, rows=rows), "triton": LoadTarget(theirs, model, rows=rows)}
    traffic = Traffic(scenario=Scenario.CLOSED, streams=streams, seconds=seconds, warm_up_s=0.5)
    points = {name: [] for name in targets}
    for turn in range(turns):
        for name in sorted(targets, reverse=bool(turn % 2)):
            point = targets[name].load(traffic)
            if point.errors or point.unanswered:
                sys.exit(f"{name} did not answer all requests for {model}: {point.errors}")
            points[name].append(point)
    for target in targets.values():
        target.close()
    measured = {
        name: {
            key: [round(getattr(point, key), 1) for point in several]
            for key in ("requests_per_s", "p50_us", "p99_us")
        }
        for name, several in points.items()
    }
    ratios = {
        key: float(np.median(np.divide(measured["ours"][key], measured["triton"][key])))
        for key in ("requests_per_s", "p50_us", "p99_us")
    }
    return {"model": model, "rows": rows, "streams": streams, "ratio": ratios, **measured}


def main() -> None:
    """Compare, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", action="append", default=[], help="NAME=BUNDLE instead of the shipped one")
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--keep", action="store_true", help="write a record into benchmarks/records")
    options = parser.parse_args()
    given = dict(one.split("=", 1) for one in options.model)
    bundles = {name: Bundle.open(given.get(name, name)) for name, _ in POINTS}
    found = []
    with tempfile.TemporaryDirectory() as folder:
        our_models = repository(Path(folder) / "ours", bundles, python=False)
        triton_models = repository(Path(folder) / "triton", bundles, python=True)
        with our_server(our_models) as ours, triton_server(triton_models) as triton:
            check_outputs(ours, triton.grpc, bundles)
            print(
                f"{'model':>10} {'rows':>6} {'streams':>7} | requests/s: ours, triton, ratio | p99 us: ours, triton, ratio"
            )
            for model, rows in POINTS:
                for streams in STREAMS:
                    one = compared(ours, triton.grpc, model, rows, streams, options.turns, options.seconds)
                    found.append(one)
                    medians = [
                        f"{np.median(one[who][key]):.0f}"
                        for key in ("requests_per_s", "p99_us")
                        for who in ("ours", "triton")
                    ]
                    print(
                        f"{model:>10} {rows:>6} {streams:>7} | {medians[0]:>7} {medians[1]:>7} {one['ratio']['requests_per_s']:>6.2f}"
                        f" | {medians[2]:>8} {medians[3]:>8} {one['ratio']['p99_us']:>6.2f}",
                        flush=True,
                    )
    if options.keep:
        record = {
            "kind": "triton-comparison",
            "created": utc_timestamp(),
            "host": host_facts().model_dump(),
            "points": found,
        }
        stamp = file_stamp(record["created"])
        path = Path(__file__).parents[1] / "records" / f"triton-{stamp}.json"
        path.write_text(json.dumps(record, indent=1) + "\n")
        print(path)


if __name__ == "__main__":
    main()
