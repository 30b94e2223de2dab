"""Networks on particles at several particle counts: `native`, compiled once for all of them, against the better of ONNX Runtime and OpenVINO.

Bound buffers, one thread, float32; the engines take turns in one run, and the ratio is that of each round. An ONNX file of your own is measured with
`--model FILE`; without one, look-alikes of the experiments' taggers are.

Usage: python benchmarks/particle_counts.py [--model tagger.onnx] [--particles 20,64,100] [--batch 1,16] -o particle_counts.json
"""

from __future__ import annotations

import argparse
import io
import itertools
import json
import os
import sys
import tempfile
import time
import warnings
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import onnx
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from tamis._base import host_facts, utc_timestamp
from tamis.bundle import Bundle, draw_inputs, free_sizes, inner_dims, pack
from tamis.engines import find_engine
from tamis.engines import open as open_session

ENGINES = ("native", "onnxruntime", "openvino")
ROUND_NS = 20_000_000  # of one engine in one round, about


class EdgeConvolution(nn.Module):
    """An edge block as weaver exports it."""

    def __init__(self, k: int, channels: int, widths: tuple[int, ...]) -> None:
        """Take the number of neighbours, the channels and those of the convolutions."""
        super().__init__()
        self.k = k
        sizes = (2 * channels, *widths)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(a, b, 1, bias=False) for a, b in itertools.pairwise(sizes)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(b) for b in widths)
        self.shortcut = nn.Sequential(
            nn.Conv1d(channels, widths[-1], 1, bias=False), nn.BatchNorm1d(widths[-1])
        )

    def forward(self, points: Tensor, x: Tensor) -> Tensor:
        """Return the new features."""
        batch, channels, count = x.size()
        inner = -2 * torch.matmul(points.transpose(2, 1), points)
        square = torch.sum(points**2, dim=1, keepdim=True)
        places = (-square - inner - square.transpose(2, 1)).topk(k=self.k + 1, dim=-1)[1][:, :, 1:]
        base = torch.arange(0, batch).view(-1, 1, 1) * count
        gathered = x.transpose(2, 1).reshape(-1, channels)[(places + base).view(-1), :]
        gathered = gathered.view(batch, count, self.k, channels).permute(0, 3, 1, 2)
        centre = x.view(batch, channels, count, 1).repeat(1, 1, 1, self.k)
        edges = torch.cat((centre, gathered - centre), 1)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            edges = F.relu(norm(convolution(edges)))
        return F.relu(self.shortcut(x) + edges.mean(-1))


class ParticleNet(nn.Module):
    """ParticleNet (arXiv:1902.08570), with the blocks that are given as (neighbours, channels)."""

    def __init__(self, features: int, blocks: tuple[tuple[int, int], ...], head: int, classes: int) -> None:
        """Take the number of features, the blocks, and the widths of the last layers."""
        super().__init__()
        self.norm = nn.BatchNorm1d(features)
        widths = [features, *(channels for _, channels in blocks)]
        self.blocks = nn.ModuleList(
            EdgeConvolution(k, before, (channels,) * 3)
            for before, (k, channels) in zip(widths, blocks, strict=False)
        )
        fused = max(128, min(1024, sum(widths[1:]) // 128 * 128))
        self.fusion = nn.Sequential(
            nn.Conv1d(sum(widths[1:]), fused, 1, bias=False), nn.BatchNorm1d(fused), nn.ReLU()
        )
        self.head = nn.Sequential(nn.Linear(fused, head), nn.ReLU(), nn.Linear(head, classes))

    def forward(self, points: Tensor, features: Tensor, mask: Tensor) -> Tensor:
        """Return the probabilities of the classes."""
        shift = (mask == 0) * 1e9
        count = mask.float().sum(dim=-1).clamp(min=1)
        x, found, place = self.norm(features) * mask, [], points
        for block in self.blocks:
            x = block(place + shift, x) * mask
            place = x
            found.append(x)
        x = self.fusion(torch.cat(found, dim=1)) * mask
        return torch.softmax(self.head(x.sum(dim=-1) / count), dim=1)


NETWORKS = {
    "ParticleNet AK4 (two blocks of 8 neighbours)": lambda: ParticleNet(20, ((8, 32), (8, 64)), 64, 8),
    "ParticleNet AK8 (three blocks of 16 neighbours)": lambda: ParticleNet(
        25, ((16, 64), (16, 128), (16, 256)), 256, 12
    ),
}


def exported(network: nn.Module) -> onnx.ModelProto:
    """Export with a free number of events and of particles, as the experiments do."""
    torch.manual_seed(1)
    for part in network.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(part.running_mean, std=0.2)
            nn.init.uniform_(part.running_var, 0.5, 2.0)
    features = network.norm.num_features
    inputs = (torch.randn(2, 2, 24), torch.randn(2, features, 24), torch.ones(2, 1, 24))
    names, buffer = ["points", "features", "mask"], io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network.eval(), inputs, buffer, input_names=names, output_names=["score"], opset_version=17, dynamo=False,
            dynamic_axes={name: {0: "N", 2: "particles"} for name in names} | {"score": {0: "N"}},
        )  # fmt: skip
    return onnx.load_model_from_string(buffer.getvalue())


def packed_dims(model: onnx.ModelProto) -> dict[str, int]:
    """Return a size of each free dimension within an event, for the golden events."""
    shapes = [one.type.tensor_type.shape.dim for one in model.graph.input]
    return {dim.dim_param: 24 for shape in shapes for dim in list(shape)[1:] if dim.dim_param}


def measured(bundle: Bundle, particles: int, batch: int, seconds: float) -> dict[str, float]:
    """Return the median time of each engine in microseconds, and the median ratio of the better runtime to `native`."""
    signature = bundle.manifest.signature
    dims = dict.fromkeys(inner_dims(signature), particles)
    inputs = draw_inputs(signature, free_sizes(signature, dims, batch), np.random.default_rng(3))
    if "mask" in inputs:
        inputs["mask"][:] = 1
    sessions = {name: open_session(bundle, name) for name in ENGINES}
    calls = {
        name: session.bind(**{k: v.copy() for k, v in inputs.items()}) for name, session in sessions.items()
    }
    repeats = {}
    for name, call in calls.items():
        begin = time.process_time_ns()
        call()
        repeats[name] = max(1, ROUND_NS // max(1, time.process_time_ns() - begin))
    rounds: dict[str, list[float]] = {name: [] for name in ENGINES}
    end = time.monotonic() + seconds
    while time.monotonic() < end or len(rounds["native"]) < 7:
        for name, call in calls.items():
            begin = time.process_time_ns()
            for _ in range(repeats[name]):
                call()
            rounds[name].append((time.process_time_ns() - begin) / repeats[name] / 1e3)
    table = np.array([rounds[name] for name in ENGINES])
    for session in sessions.values():
        session.close()
    found = {f"{name}_us": float(np.median(row)) for name, row in zip(ENGINES, table, strict=True)}
    return found | {"ratio": float(np.median(table[1:].min(axis=0) / table[0]))}


def main() -> None:
    """Measure each network at each particle count and batch size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="an ONNX file with one free dimension within an event")
    parser.add_argument("--particles", default="20,64,100")
    parser.add_argument("--batch", default="1,16")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    models = (
        {options.model.stem: onnx.load(options.model)}
        if options.model
        else {name: exported(make()) for name, make in NETWORKS.items()}
    )
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, model) in enumerate(models.items()):
            bundle = pack(model, Path(folder) / f"{number}.tamis", dims=packed_dims(model)).bundle
            counts = (
                (int(n), int(batch))
                for n in options.particles.split(",")
                for batch in options.batch.split(",")
            )
            for particles, batch in counts:
                row = {"model": name, "particles": particles, "batch": batch}
                rows.append(row | measured(bundle, particles, batch, options.seconds))
                sys.stdout.write(f"{rows[-1]}\n")
                sys.stdout.flush()
    host = host_facts().model_dump() | {"engines": {name: find_engine(name).version() for name in ENGINES}}
    options.output.write_text(
        json.dumps({"created": utc_timestamp(), "host": host, "rows": rows}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
