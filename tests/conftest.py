"""Shared fixtures: small models of the kinds used in the field (`model_name`), every engine (`engine_name`), event files."""

from __future__ import annotations

import io
import os
import signal
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

from tamis._base import MissingExtraError
from tamis.bundle import Bundle, pack
from tamis.engines import engine_names, find_engine

# Compiled models and kernels go next to pytest's cache instead of the user's. Set when this file is imported, since conftest.py files below
# import modules that look for the folder; child processes inherit the variable.
os.environ.setdefault("TAMIS_CACHE", str(Path(__file__).resolve().parents[1] / ".pytest_cache" / "tamis"))


@pytest.fixture(scope="session", autouse=True)
def _default_interrupt_handler() -> None:
    """Restore the default Ctrl-C handler: a background job of a shell ignores SIGINT, and so would the tests' child processes."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def _weights(model: onnx.ModelProto, seed: int = 0, **shapes: tuple[int, ...]) -> onnx.ModelProto:
    rng = np.random.default_rng(seed)
    for name, shape in shapes.items():
        scale = 1.0 / max(1.0, np.sqrt(np.prod(shape[1:])))
        value = (rng.normal(size=shape) * scale).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(value, name))
    return model


def parse(graph: str, opset: int = 17, **shapes: tuple[int, ...]) -> onnx.ModelProto:
    """Parse a model in ONNX's text form and add random weights of the given shapes."""
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]>\n{graph}')
    return _weights(model, **shapes)


def exported(module, *inputs, names: tuple[str, ...], opset: int = 17, outputs: tuple[str, ...] = ("score",)):
    """Export a torch module with a free batch dimension, as users do."""
    import torch

    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            inputs,
            buffer,
            input_names=list(names),
            output_names=list(outputs),
            dynamic_axes={name: {0: "N"} for name in (*names, *outputs)},
            opset_version=opset,
            dynamo=False,
        )
    return onnx.load_model_from_string(buffer.getvalue())


def dense() -> onnx.ModelProto:
    return parse(
        """dense (float[N, 12] x) => (float[N, 1] score) {
            a = Gemm <transB = 1> (x, w1, b1)
            b = Relu (a)
            c = MatMul (b, w2)
            score = Sigmoid (c)
        }""",
        w1=(8, 12),
        b1=(8,),
        w2=(8, 1),
    )


def conv1d() -> onnx.ModelProto:
    return parse(
        """conv (float[N, 3, 20] x) => (float[N] score, float[N, 5] probabilities) {
            a = Conv <kernel_shape = [3], pads = [1, 1], strides = [2]> (x, w1, b1)
            b = LeakyRelu <alpha = 0.1> (a)
            c = MaxPool <kernel_shape = [2], strides = [2]> (b)
            d = Flatten (c)
            e = MatMul (d, w2)
            probabilities = Softmax <axis = 1> (e)
            axis = Constant <value_ints = [1]> ()
            score = ReduceSum <keepdims = 0> (e, axis)
        }""",
        w1=(6, 3, 3),
        b1=(6,),
        w2=(30, 5),
    )


def particle_net() -> onnx.ModelProto:
    """ParticleNet: nearest neighbours by TopK and Gather, edge convolutions, masked mean; three inputs named as in CMS."""
    import torch

    class EdgeConvolution(torch.nn.Module):
        def __init__(self, width_in, width_out, k):
            super().__init__()
            self.k = k
            self.layer = torch.nn.Conv2d(2 * width_in, width_out, 1, bias=False)
            self.norm = torch.nn.BatchNorm2d(width_out)
            self.norm.running_mean.normal_()
            self.norm.running_var.uniform_(0.5, 1.5)

        def forward(self, points, features):
            gaps = points.unsqueeze(3) - points.unsqueeze(2)
            index = torch.topk(-(gaps * gaps).sum(1), self.k + 1, dim=2)[1][:, :, 1:]
            n, c, p = features.shape
            flat = index.reshape(n, 1, p * self.k).expand(n, c, p * self.k)
            neighbours = torch.gather(features, 2, flat).reshape(n, c, p, self.k)
            centre = features.unsqueeze(3).expand(n, c, p, self.k)
            return torch.relu(self.norm(self.layer(torch.cat([centre, neighbours - centre], 1)))).mean(3)

    class ParticleNet(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = EdgeConvolution(4, 6, 3), EdgeConvolution(6, 6, 3)
            self.head = torch.nn.Linear(6, 2)

        def forward(self, points, features, mask):
            real = (mask.abs() > 0).float()
            points = points + 100.0 * (1.0 - real)
            h = self.second(points, self.first(points, features * real)) * real
            return torch.softmax(self.head(h.sum(2) / real.sum(2).clamp(min=1.0)), 1)

    torch.manual_seed(0)
    example = torch.randn(2, 2, 10), torch.randn(2, 4, 10), torch.ones(2, 1, 10)
    return exported(
        ParticleNet(), *example, names=("pf_points", "pf_features", "pf_mask"), outputs=("softmax",)
    )


def deep_jet() -> onnx.ModelProto:
    """DeepJet: 1x1 convolutions and a recurrent layer for each particle collection, then dense layers."""
    import torch

    class DeepJet(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.cpf, self.sv = torch.nn.Conv1d(6, 4, 1), torch.nn.Conv1d(5, 3, 1)
            self.lstm = torch.nn.LSTM(4, 5, batch_first=True)
            self.gru = torch.nn.GRU(3, 4, batch_first=True, bidirectional=True)
            self.dense = torch.nn.Linear(3 + 5 + 8, 3)

        def forward(self, glob, cpf, sv):
            c, _ = self.lstm(torch.relu(self.cpf(cpf.transpose(1, 2))).transpose(1, 2))
            s, _ = self.gru(torch.relu(self.sv(sv.transpose(1, 2))).transpose(1, 2))
            return self.dense(torch.cat([glob, c[:, -1], s[:, -1]], 1))

    torch.manual_seed(0)
    example = torch.randn(2, 3), torch.randn(2, 7, 6), torch.randn(2, 4, 5)
    return exported(DeepJet(), *example, names=("/glob/x", "cpf.x", "sv"), outputs=("/out/logits",))


def attention() -> onnx.ModelProto:
    import torch

    class Block(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv, self.out, self.norm = (
                torch.nn.Linear(8, 24),
                torch.nn.Linear(8, 1),
                torch.nn.LayerNorm(8),
            )

        def forward(self, x):
            q, k, v = self.qkv(self.norm(x)).chunk(3, dim=2)
            weights = torch.softmax(q @ k.transpose(1, 2) / 8**0.5, dim=-1)
            return self.out(torch.nn.functional.gelu(x + weights @ v)).mean(1)

    torch.manual_seed(0)
    return exported(Block(), torch.randn(2, 6, 8), names=("x",))


def image() -> onnx.ModelProto:
    return parse(
        """image (float[N, 1, 6, 6] x) => (float[N, 2, 12, 12] y)
        <float[3] s = {0.5, 1.0, 2.0}, float[3] o = {0.1, 0.2, 0.3}> {
            a = Conv <auto_pad = "SAME_UPPER", kernel_shape = [3, 3]> (x, w1)
            b = BatchNormalization (a, s, o, o, s)
            c = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (b)
            d = ConvTranspose <strides = [2, 2], kernel_shape = [2, 2]> (c, w2)
            scales = Constant <value = float[4] {1.0, 1.0, 2.0, 2.0}> ()
            y = Resize <mode = "nearest", coordinate_transformation_mode = "asymmetric", nearest_mode = "floor"> (d, "", scales)
        }""",
        w1=(3, 1, 3, 3),
        w2=(3, 2, 2, 2),
    )


def embedding() -> onnx.ModelProto:
    """Integer and boolean inputs and outputs besides floats."""
    return parse(
        """embedding (int64[N, 4] kind, bool[N, 4] real, float[N, 4] pt) => (float[N] score, int64[N] leading, bool[N, 4] hard) {
            e = Gather <axis = 0> (table, kind)
            f = Cast <to = 1> (real)
            axes = Constant <value_ints = [2]> ()
            s = ReduceSum <keepdims = 0> (e, axes)
            m = Mul (s, f)
            w = Mul (m, pt)
            one = Constant <value_ints = [1]> ()
            score = ReduceSum <keepdims = 0> (w, one)
            leading = ArgMax <axis = 1, keepdims = 0> (pt)
            cut = Constant <value_float = 0.5> ()
            above = Greater (pt, cut)
            hard = And (above, real)
        }""",
        table=(5, 3),
    )


def fixed_batch() -> onnx.ModelProto:
    return parse(
        """fixed (float[1, 6] x) => (float[1, 2] score) {
            shape = Constant <value_ints = [1, 2, 3]> ()
            a = Reshape (x, shape)
            b = MatMul (a, w)
            axes = Constant <value_ints = [1]> ()
            score = ReduceMean <axes = [1], keepdims = 0> (b)
        }""",
        w=(3, 2),
    )


def no_batch() -> onnx.ModelProto:
    return parse(
        """single (float[6, 3] x, float scale) => (float score) {
            a = MatMul (x, w)
            b = Mul (a, scale)
            score = ReduceMean <keepdims = 0> (b)
        }""",
        w=(3, 2),
    )


def old_opset() -> onnx.ModelProto:
    """Opset 9: axes, limits, pads and starts as attributes."""
    return parse(
        """old (float[N, 4, 5] x) => (float[N, 1] score) {
            a = Pad <pads = [0, 1, 0, 0, 0, 1], value = 0.5> (x)
            b = Slice <starts = [1, 0], ends = [5, -1], axes = [1, 2]> (a)
            c = Clip <min = -1.0, max = 1.0> (b)
            d = Unsqueeze <axes = [1]> (c)
            e = Squeeze <axes = [1]> (d)
            f = ReduceSum <axes = [2], keepdims = 0> (e)
            g = Softmax <axis = 1> (f)
            h = Dropout (g)
            score = Gemm (h, w, b1)
        }""",
        opset=9,
        w=(4, 1),
        b1=(1, 1),
    )


MODELS: dict[str, Callable[[], onnx.ModelProto]] = {
    "dense": dense,
    "conv1d": conv1d,
    "particle-net": particle_net,
    "deep-jet": deep_jet,
    "attention": attention,
    "image": image,
    "embedding": embedding,
    "fixed-batch": fixed_batch,
    "no-batch": no_batch,
    "old-opset": old_opset,
}


def engine_parameters() -> list[object]:
    """Return every registered local engine that computes; an engine with a missing library is skipped with its pip command."""
    parameters: list[object] = []
    for name in engine_names():
        try:
            engine = find_engine(name)
            engine.prepare()
        except MissingExtraError as error:
            parameters.append(pytest.param(name, marks=pytest.mark.skip(reason=str(error))))
        else:
            on_request = engine.rounds_weights or engine.emulates
            parameters += [name] if engine.computes and engine.local and not on_request else []
    return parameters


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run tests that take `model_name` or `engine_name` on every model or engine."""
    if "model_name" in metafunc.fixturenames:
        metafunc.parametrize("model_name", list(MODELS))
    if "engine_name" in metafunc.fixturenames:
        metafunc.parametrize("engine_name", engine_parameters(), scope="module")


@pytest.fixture(scope="session")
def bundle_of(tmp_path_factory) -> Callable[[str], Bundle]:
    """Return a function that returns the bundle of a model by name, packed once per session."""
    folder: Path = tmp_path_factory.mktemp("bundles")
    packed: dict[str, Bundle] = {}

    def get(name: str) -> Bundle:
        if name not in packed:
            packed[name] = pack(MODELS[name](), folder / f"{name}.tamis").bundle
        return packed[name]

    return get


@pytest.fixture(scope="session")
def parse_model() -> Callable[..., onnx.ModelProto]:
    """Return the function that parses models in ONNX's text form."""
    return parse


@pytest.fixture
def export_model() -> Callable[..., onnx.ModelProto]:
    """Return the function that exports torch modules."""
    return exported


@pytest.fixture
def one_node() -> Callable[..., onnx.ModelProto]:
    """Return a function that builds a model of one operator from inputs and constants (initializers)."""

    def make(
        op: str,
        inputs: dict[str, np.ndarray],
        constants: dict[str, np.ndarray],
        opset: int,
        outputs: int,
        **attributes,
    ):
        names = [*inputs, *constants]
        results = [f"y{i}" for i in range(outputs)]
        nodes = [helper.make_node(op, names, results, **attributes)]
        graph = helper.make_graph(
            nodes,
            op,
            [
                helper.make_tensor_value_info(k, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape)
                for k, v in inputs.items()
            ],
            [helper.make_tensor_value_info(name, TensorProto.UNDEFINED, None) for name in results],
            [numpy_helper.from_array(v, k) for k, v in constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
        return onnx.shape_inference.infer_shapes(model)

    return make


@pytest.fixture
def jet_events():
    """Return a function that generates events with jets and constituents in NanoAOD's columns; every seventh has no jet."""
    import awkward as ak

    from tamis.events import Events

    def make(count: int, *, first: int = 0, mass: bool = True, kinds: bool = False) -> Events:
        rng = np.random.default_rng([count, first])
        n_jets = np.where(np.arange(first, first + count) % 7 == 0, 0, rng.integers(1, 4, count))
        n_links = 5 * n_jets

        def lists(counts, values):
            return ak.unflatten(np.asarray(values), counts)

        total, links = int(n_jets.sum()), int(n_links.sum())
        starts = np.repeat(np.cumsum(n_links) - n_links, n_links)
        columns = {
            "run": np.ones(count, np.uint32),
            "luminosityBlock": np.ones(count, np.uint32),
            "event": np.arange(first, first + count, dtype=np.uint64),
            "FatJet_pt": lists(n_jets, rng.uniform(200, 900, total).astype(np.float32)),
            "FatJet_eta": lists(n_jets, rng.normal(0, 1, total).astype(np.float32)),
            "FatJet_phi": lists(n_jets, rng.uniform(-3, 3, total).astype(np.float32)),
            "FatJetPFCands_jetIdx": lists(n_links, ((np.arange(links) - starts) // 5).astype(np.int32)),
            "FatJetPFCands_pFCandsIdx": lists(n_links, (np.arange(links) - starts).astype(np.int32)),
            "PFCands_pt": lists(n_links, rng.exponential(30, links).astype(np.float32) + 1),
            "PFCands_eta": lists(n_links, rng.normal(0, 1, links).astype(np.float32)),
            "PFCands_phi": lists(n_links, rng.uniform(-3, 3, links).astype(np.float32)),
        }
        if mass:
            columns["FatJet_mass"] = lists(n_jets, rng.exponential(50, total).astype(np.float32))
        if kinds:
            kind = rng.choice([211, 22, 130], links).astype(np.int32)
            columns["PFCands_pdgId"] = lists(n_links, kind)
            columns["PFCands_charge"] = lists(n_links, (kind == 211).astype(np.int32))
        return Events.of(columns)

    return make


@pytest.fixture
def jet_file(jet_events, tmp_path):
    """Return a function that writes events of `jet_events` to a file."""
    from tamis.events import open_writer

    def write(name: str, count: int = 40, **options) -> Path:
        with open_writer(tmp_path / name) as writer:
            writer.write(jet_events(count, **options))
        return tmp_path / name

    return write


@pytest.fixture(scope="session")
def jet_bundle(tmp_path_factory) -> Bundle:
    """Return a tiny detector: its score is the third component of the summed constituents, which are a second output."""
    from tamis.bundle import WorkingPoint

    model = parse(
        """jets (float[N, 100, 3] jets) => (float[N] score, float[N, 3] event) {
            axes = Constant <value_ints = [1]> ()
            event = ReduceSum <keepdims = 0> (jets, axes)
            pick = Constant <value = int64 {2}> ()
            score = Gather <axis = 1> (event, pick)
        }"""
    )
    x = np.abs(np.random.default_rng(0).normal(size=(70, 100, 3))).astype(np.float32)
    target = tmp_path_factory.mktemp("jets") / "jets.tamis"
    points = [WorkingPoint(name="tight", threshold=150.0)]
    return pack(
        model,
        target,
        inputs={"jets": x},
        score="score",
        features={"jets": "leading_jets"},
        working_points=points,
    ).bundle


@pytest.fixture
def real_file() -> Callable[[str], Path]:
    """Return a function that finds a file of an experiment, or skips the test."""
    folder = Path(
        os.environ.get("TAMIS_TEST_DATA", Path(__file__).resolve().parents[1].parent / "shared" / "data")
    )

    def find(name: str) -> Path:
        if not (folder / name).exists():
            pytest.skip(f"{folder / name} is missing: files of experiments are not part of the repository")
        return folder / name

    return find


@pytest.fixture
def lepton_file(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes random events, most with a lepton that the topology classifiers select."""
    from tamis.events import IDENTITY, Events, open_writer
    from tamis.features import find_feature

    def write(name: str, count: int, seed: int, lepton_pt: float = 40.0) -> Path:
        rng = np.random.default_rng(seed)
        columns: dict[str, object] = {key: np.arange(1, count + 1) for key in IDENTITY}
        for key in sorted({*find_feature("lepton_event").reads, *find_feature("particle_list").reads}):
            values = np.abs(rng.normal(size=(count, 2)))
            if key.endswith("_pt"):
                values = values * 10 + lepton_pt
            if key.endswith("pfRelIso03_all"):
                values = values / 10
            if key.endswith(("pdgId", "charge")):
                values = np.ones((count, 2), int)
            columns[key] = values[:, 0] if key.startswith("MET") else values.tolist()
        with open_writer(tmp_path / f"{name}.parquet") as writer:
            writer.write(Events.of(columns))
        return tmp_path / f"{name}.parquet"

    return write


@pytest.fixture
def low_level_file(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes random events with all columns of the image taggers' frames; every fourth has no jet."""
    from tamis.events import IDENTITY, Events, open_writer
    from tamis.features import find_feature

    names = {
        key
        for name in ("egamma", "quark_gluon", "top", "tau")
        for key in find_feature(f"{name}_frames").reads
    }

    def write(name: str, count: int, seed: int) -> Path:
        rng = np.random.default_rng(seed)
        columns: dict[str, object] = {key: np.arange(1, count + 1) for key in IDENTITY}
        for key in sorted({*names, "Jet_mass", "FatJet_mass"}):
            prefix, _, what = key.partition("_")
            lengths = np.full(count, 3 if "Jet" in prefix else 5)
            if "Jet" in prefix:
                lengths[::4] = 0
            if prefix == "PV":
                columns[key] = rng.normal(0, 3, count)
                continue
            draw = {"eta": (-1, 1), "phi": (-3, 3), "layer": (1, 4), "d0": (-0.1, 0.1)}.get(what, (30, 60))
            values = rng.uniform(*draw, lengths.sum()).astype(np.int32 if what == "layer" else np.float32)
            columns[key] = [part.tolist() for part in np.split(values, np.cumsum(lengths)[:-1])]
        with open_writer(tmp_path / f"{name}.parquet") as writer:
            writer.write(Events.of(columns))
        return tmp_path / f"{name}.parquet"

    return write
