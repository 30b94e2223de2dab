"""A tagger of sixteen features in five classes on made-up rows, and an emulation of compressed dense graphs in int64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

from tamis.bundle import Bundle, background_point, pack
from tamis.bundle.model import parse_model
from tamis.zoo.training.export import ClassifierScore, export_graph

CLASSES = ["g", "q", "W", "Z", "t"]
EFFICIENCIES = (0.1, 0.01)
STEPS = {"Add", "Cast", "Clip", "Floor", "Gemm", "MatMul", "Max", "Min", "Mul", "Relu", "Sub"}


def made_up_rows(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return five overlapping classes in sixteen features of very different scales."""
    shape = np.random.default_rng(77)
    means, widths = 0.34 * shape.normal(size=(5, 16)), 0.7 + 0.6 * shape.random((5, 16))
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 5, count)
    x = means[label] + widths[label] * rng.normal(size=(count, 16))
    x = np.sign(x) * np.abs(x) ** 1.2 * np.logspace(-1, 2, 16) + np.linspace(-3, 40, 16)
    return x.astype(np.float32), label


class ToyTagger(nn.Module):
    """16-64-32-32-5 with a standardisation."""

    def __init__(self, x: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("mean", torch.from_numpy(x.mean(0)))
        self.register_buffer("std", torch.from_numpy(x.std(0)))
        self.layers = nn.Sequential(
            nn.Linear(16, 64),
            nn.ReLU(),
            nn.Linear(64, 32),
            nn.ReLU(),
            nn.Linear(32, 32),
            nn.ReLU(),
            nn.Linear(32, 5),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers((x - self.mean) / self.std)


def train_tagger(path: Path, *, rows: int = 8000, epochs: int = 8, seed: int = 0) -> Bundle:
    """Train a tagger and pack it with working points."""
    x, label = made_up_rows(rows, 1000 + seed)
    torch.manual_seed(seed)
    net, data, truth = ToyTagger(x), torch.from_numpy(x), torch.from_numpy(label)
    optimiser = torch.optim.Adam(net.parameters(), 3e-3)
    for _ in range(epochs):
        for batch in torch.randperm(len(data)).split(256):
            loss = nn.functional.cross_entropy(net(data[batch]), truth[batch])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    graph = export_graph(ClassifierScore(net.eval()), {"x": data[:2]}, ("score", "probabilities"))
    with torch.no_grad():
        background = torch.softmax(net(data), 1)[:, 1:].sum(1).numpy()[label == 0]
    points = [background_point(f"background-{e:g}", e, background, "rows") for e in EFFICIENCIES]
    training = {"task": "classes", "target": "label", "classes": CLASSES}
    return pack(
        parse_model(graph, "toy"),
        path,
        inputs={"x": x[:64]},
        score="score",
        working_points=points,
        training=training,
    ).bundle


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Small networks are slower with several threads, above all on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tagger(one_thread, tmp_path_factory) -> Bundle:
    return train_tagger(tmp_path_factory.mktemp("parent") / "toy.tamis")


@pytest.fixture(scope="session")
def rows_file(tmp_path_factory) -> Path:
    """Return rows with labels."""
    path = tmp_path_factory.mktemp("rows") / "rows.npz"
    x, label = made_up_rows(3000, 5)
    np.savez(path, x=x, label=label)
    return path


@pytest.fixture(scope="session")
def taggers_of(one_thread):
    return train_tagger


@pytest.fixture(scope="session")
def rows_of():
    return made_up_rows


@pytest.fixture(scope="session")
def emulate():
    return emulate_in_integers


def emulate_in_integers(model: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Evaluate a dense graph: floats until they are rounded, then pairs of int64 integers and their fraction bits.

    Returns every value that is exact, as float64.
    """
    constants = {one.name: numpy_helper.to_array(one).astype(np.float64) for one in model.graph.initializer}
    floats = {name: value.astype(np.float64) for name, value in inputs.items()}
    exact: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for node in model.graph.node:
        data = next(name for name in node.input if name not in constants)
        others = [constants[name] for name in node.input if name in constants]
        if node.op_type == "Mul" and data in floats and data not in exact:
            floats[node.output[0]] = floats[data] * others[0]
        elif node.op_type == "Round" and data in floats:
            exact[node.output[0]] = np.rint(floats[data]).astype(np.int64), np.zeros(1, np.int64)
        elif data in exact and node.op_type in STEPS:  # others are the host's
            exact[node.output[0]] = integer_step(node, *exact[data], others)
    return {
        name: integers * 2.0**-fraction
        for name, (integers, fraction) in exact.items()
        if fraction is not None
    }


def integer_step(node, integers, fraction, others):
    """Apply an operator of the quantised part of a graph."""
    if node.op_type == "Mul":
        shift = np.log2(others[0])
        assert (shift == np.rint(shift)).all()
        return integers, fraction - shift.astype(np.int64)
    if node.op_type == "Floor":
        return integers >> fraction.clip(0) << (-fraction).clip(0), np.zeros(1, np.int64)
    if node.op_type == "Cast":
        return integers, fraction
    if node.op_type == "Relu":
        return np.maximum(integers, 0), fraction
    if node.op_type in ("Add", "Sub"):
        constant = others[0] if node.op_type == "Add" else -others[0]
        common = np.maximum(fraction, bits_behind_the_point(constant))
        return (integers << (common - fraction)) + as_integers(constant, common), common
    if node.op_type in ("Clip", "Max", "Min"):
        low, high = others if node.op_type == "Clip" else (others[0],) * 2
        integers = integers if node.op_type == "Min" else np.maximum(integers, as_integers(low, fraction))
        return (
            integers if node.op_type == "Max" else np.minimum(integers, as_integers(high, fraction))
        ), fraction
    assert node.op_type in ("Gemm", "MatMul"), node.op_type
    transposed = any(a.name == "transB" and a.i for a in node.attribute)
    weight = others[0].T if transposed else others[0]
    common = int(np.max(fraction))
    width = int(bits_behind_the_point(weight))
    sums = (integers << (common - fraction)) @ as_integers(weight, width)
    bias = others[1] if len(others) > 1 else np.zeros(1)
    final = max(common + width, int(bits_behind_the_point(bias)))
    return (sums << (final - common - width)) + as_integers(bias, final), np.array([final])


def as_integers(values, fraction):
    scaled = values * 2.0**fraction
    assert (scaled == np.rint(scaled)).all()
    return scaled.astype(np.int64)


def bits_behind_the_point(values):
    return next(f for f in range(-20, 80) if (values * 2.0**f == np.rint(values * 2.0**f)).all())
