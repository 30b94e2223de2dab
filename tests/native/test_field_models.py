"""Architectures published in high-energy physics, at small but realistic sizes: within 1e-6 of float64, bit-identical in every mode."""

from __future__ import annotations

import io
import itertools
import warnings
from math import prod

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from tamis.native import compile_model
from tamis.native.program import Contract


def knn(x: Tensor, k: int) -> Tensor:
    """Return the k nearest neighbours of each point, as ParticleNet does."""
    inner = -2 * torch.matmul(x.transpose(2, 1), x)
    square = torch.sum(x**2, dim=1, keepdim=True)
    distance = -square - inner - square.transpose(2, 1)
    return distance.topk(k=k + 1, dim=-1)[1][:, :, 1:]


def neighbours(x: Tensor, places: Tensor) -> Tensor:
    """Return each point with the differences to its neighbours, by flat indices as ParticleNet does."""
    batch, channels, points = x.size()
    k = places.size(-1)
    base = torch.arange(0, batch).view(-1, 1, 1) * points
    flat = (places + base).view(-1)
    gathered = x.transpose(2, 1).reshape(-1, channels)[flat, :].view(batch, points, k, channels)
    gathered = gathered.permute(0, 3, 1, 2)
    centre = x.view(batch, channels, points, 1).repeat(1, 1, 1, k)
    return torch.cat((centre, gathered - centre), 1)


class EdgeConvolution(nn.Module):
    def __init__(self, k: int, channels: int, widths: tuple[int, ...]) -> None:
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

    def forward(self, points: Tensor, features: Tensor) -> Tensor:
        x = neighbours(features, knn(points, self.k))
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = F.relu(norm(convolution(x)))
        return F.relu(self.shortcut(features) + x.mean(-1))


class ParticleNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(7)
        self.first, self.second = EdgeConvolution(7, 7, (32, 32, 32)), EdgeConvolution(7, 32, (64, 64, 64))
        self.fusion = nn.Sequential(nn.Conv1d(96, 128, 1, bias=False), nn.BatchNorm1d(128), nn.ReLU())
        self.head = nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Dropout(0.1), nn.Linear(64, 5))

    def forward(self, points: Tensor, features: Tensor, mask: Tensor) -> Tensor:
        mask = (features.abs().sum(dim=1, keepdim=True) != 0) if mask is None else mask
        shift = (mask == 0) * 1e9
        count = mask.float().sum(dim=-1).clamp(min=1)
        x = self.norm(features) * mask
        one = self.first(points + shift, x) * mask
        two = self.second(one + shift, one) * mask
        x = self.fusion(torch.cat((one, two), dim=1)) * mask
        return torch.softmax(self.head(x.sum(dim=-1) / count), dim=1)


class DeepJet(nn.Module):
    def __init__(self) -> None:
        super().__init__()

        def stack(*sizes: int) -> nn.Module:
            layers = []
            for a, b in itertools.pairwise(sizes):
                layers += [nn.Conv1d(a, b, 1), nn.ReLU(), nn.BatchNorm1d(b), nn.Dropout(0.1)]
            return nn.Sequential(*layers)

        self.charged, self.vertices = stack(16, 64, 32, 32, 8), stack(12, 64, 32, 32, 8)
        self.lstm, self.other = nn.LSTM(8, 50, batch_first=True), nn.LSTM(8, 20, batch_first=True)
        self.norm = nn.BatchNorm1d(15)
        self.head = nn.Sequential(nn.Linear(85, 100), nn.ReLU(), nn.BatchNorm1d(100), nn.Linear(100, 6))

    def forward(self, jet: Tensor, charged: Tensor, vertices: Tensor) -> Tensor:
        one = self.lstm(torch.flip(self.charged(charged.transpose(1, 2)).transpose(1, 2), dims=[1]))[0][:, -1]
        two = self.other(self.vertices(vertices.transpose(1, 2)).transpose(1, 2))[1][0][-1]
        return torch.softmax(self.head(torch.cat([self.norm(jet), one, two], 1)), dim=1)


class DeepAK8(nn.Module):
    def __init__(self) -> None:
        super().__init__()

        def block(a: int, b: int, stride: int) -> nn.Module:
            return nn.Sequential(
                nn.BatchNorm1d(a), nn.ReLU(), nn.Conv1d(a, b, 3, stride=stride, padding=1, bias=False), nn.BatchNorm1d(b),
                nn.ReLU(), nn.Conv1d(b, b, 3, padding=1, bias=False),
            )  # fmt: skip

        self.first = nn.Conv1d(10, 32, 3, padding=1)
        self.blocks = nn.ModuleList([block(32, 32, 1), block(32, 64, 2), block(64, 64, 1)])
        self.shortcuts = nn.ModuleList([nn.Identity(), nn.Conv1d(32, 64, 1, stride=2), nn.Identity()])
        self.head = nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(64, 17))

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for block, shortcut in zip(self.blocks, self.shortcuts, strict=True):
            x = block(x) + shortcut(x)
        return F.log_softmax(self.head(F.max_pool1d(F.relu(x), 3, 2, 1)), dim=-1)


class InteractionNetwork(nn.Module):
    def __init__(self, particles: int = 12, features: int = 6) -> None:
        super().__init__()
        pairs = [(i, j) for i in range(particles) for j in range(particles) if i != j]
        receive, send = torch.zeros(2, particles, len(pairs))
        for number, (i, j) in enumerate(pairs):
            receive[i, number] = send[j, number] = 1.0
        self.register_buffer("receive", receive)
        self.register_buffer("send", send)
        self.relation = nn.Sequential(nn.Linear(2 * features, 24), nn.SELU(), nn.Linear(24, 8), nn.SELU())
        self.object = nn.Sequential(nn.Linear(features + 8, 24), nn.ELU(), nn.Linear(24, 10), nn.ELU())
        self.head = nn.Linear(10, 2)

    def forward(self, x: Tensor) -> Tensor:
        pairs = torch.cat([torch.matmul(x, self.receive), torch.matmul(x, self.send)], 1)
        effects = self.relation(pairs.transpose(1, 2)).transpose(1, 2)
        gathered = torch.matmul(effects, self.receive.transpose(0, 1).contiguous())
        return torch.sigmoid(self.head(self.object(torch.cat([x, gathered], 1).transpose(1, 2)).sum(1)))


class EnergyFlow(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(3, 50), nn.PReLU(), nn.Linear(50, 32), nn.GELU())
        self.outer = nn.Sequential(nn.Linear(32, 50), nn.PReLU(50), nn.Linear(50, 1))

    def forward(self, momenta: Tensor) -> Tensor:
        pt, angles = momenta[..., :1], momenta[..., 1:]
        mask = pt != 0
        weight = torch.where(mask, pt / (pt.sum(1, keepdim=True) + 1e-6), torch.zeros_like(pt))
        return self.outer(
            (weight * self.inner(torch.cat([angles, torch.log(pt.clamp(min=1e-3))], -1))).sum(1)
        )


def pair_features(v: Tensor) -> Tensor:
    """Return the logarithms of the distance, kT and mass of each pair."""
    px, py, pz, energy = v.split((1, 1, 1, 1), dim=1)
    pt = torch.sqrt(px * px + py * py).clamp(min=1e-4)
    rapidity = 0.5 * torch.log(1 + (2 * pz) / (energy - pz).clamp(min=1e-3))
    phi = torch.atan(py / (px.abs() + 1e-3))
    d_eta = rapidity.unsqueeze(-1) - rapidity.unsqueeze(-2)
    d_phi = (phi.unsqueeze(-1) - phi.unsqueeze(-2) + torch.pi) % (2 * torch.pi) - torch.pi
    delta = torch.sqrt(d_eta**2 + d_phi**2 + 1e-4)
    least = torch.minimum(pt.unsqueeze(-1), pt.unsqueeze(-2))
    total = v.unsqueeze(-1) + v.unsqueeze(-2)
    mass = (total[:, 3:] ** 2 - (total[:, :3] ** 2).sum(1, keepdim=True)).clamp(min=1e-3)
    return torch.cat([torch.log(delta), torch.log(least * delta), torch.log(mass)], 1)


class Attention(nn.Module):
    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.before, self.after, self.inner = nn.LayerNorm(size), nn.LayerNorm(size), nn.LayerNorm(2 * size)
        self.qkv, self.out = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.up, self.down = nn.Linear(size, 2 * size), nn.Linear(2 * size, size)
        self.scale = nn.Parameter(torch.ones(heads))

    def forward(
        self, x: Tensor, mask: Tensor, bias: Tensor | None = None, token: Tensor | None = None
    ) -> Tensor:
        batch, _count, size = x.shape
        keys = self.before(x if token is None else torch.cat([token, x], 1))
        queries = x if token is None else token
        q, _, _ = self.qkv(self.before(queries)).chunk(3, -1)
        _, k, v = self.qkv(keys).chunk(3, -1)

        def split(t: Tensor) -> Tensor:
            return t.reshape(batch, -1, self.heads, size // self.heads).transpose(1, 2)

        weight = torch.matmul(split(q), split(k).transpose(-2, -1)) / (size // self.heads) ** 0.5
        weight = weight if bias is None else weight + bias
        weight = torch.softmax(weight.masked_fill(mask, float("-inf")), dim=-1)
        mixed = torch.einsum("bhtd,h->bthd", torch.matmul(weight, split(v)), self.scale).reshape(
            batch, -1, size
        )
        x = queries + self.after(self.out(mixed))
        return x + self.down(self.inner(F.gelu(self.up(x))))


class ParticleTransformer(nn.Module):
    def __init__(self, size: int = 32, heads: int = 4) -> None:
        super().__init__()
        self.embed = nn.Sequential(nn.BatchNorm1d(5))
        self.first = nn.Sequential(
            nn.LayerNorm(5), nn.Linear(5, 64), nn.GELU(), nn.LayerNorm(64), nn.Linear(64, size)
        )
        self.pairs = nn.Sequential(
            nn.BatchNorm1d(3), nn.Conv1d(3, 16, 1), nn.BatchNorm1d(16), nn.GELU(), nn.Conv1d(16, heads, 1)
        )
        self.blocks = nn.ModuleList(Attention(size, heads) for _ in range(2))
        self.last = Attention(size, heads)
        self.token = nn.Parameter(torch.randn(1, 1, size) * 0.02)
        self.head = nn.Sequential(nn.LayerNorm(size), nn.Linear(size, 4))

    def forward(self, features: Tensor, momenta: Tensor, mask: Tensor) -> Tensor:
        batch, _, count = features.shape
        bias = self.pairs(pair_features(momenta).view(batch, 3, count * count)).view(batch, -1, count, count)
        padding = ~mask.bool().unsqueeze(2)  # (batch, 1, 1, count)
        x = self.first(self.embed(features).transpose(1, 2)).masked_fill(~mask.bool().transpose(1, 2), 0)
        for block in self.blocks:
            x = block(x, padding, bias)
        with_token = torch.cat((torch.zeros_like(padding[..., :1]), padding), dim=-1)
        token = self.last(x, with_token, None, self.token.expand(batch, -1, -1))
        return torch.softmax(self.head(token.squeeze(1)), dim=1)


class Autoencoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()

        def separable(a: int, b: int, stride: int) -> nn.Module:
            return nn.Sequential(
                nn.Conv2d(a, a, 3, stride=stride, padding=1, groups=a, bias=False), nn.BatchNorm2d(a), nn.ReLU6(),
                nn.Conv2d(a, b, 1, bias=False), nn.BatchNorm2d(b), nn.Hardswish(),
            )  # fmt: skip

        self.down = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), separable(8, 16, 2), separable(16, 24, 2), nn.AvgPool2d(2)
        )
        self.middle = nn.Sequential(nn.Flatten(), nn.Linear(96, 10), nn.SELU(), nn.Linear(10, 96), nn.ELU())
        self.up = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="nearest"), nn.ConvTranspose2d(24, 16, 3, stride=2, padding=1, output_padding=1),
            nn.BatchNorm2d(16), nn.LeakyReLU(0.2), nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False),
            nn.ConvTranspose2d(16, 1, 2, stride=1, groups=1), nn.Softplus(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        y = self.up(self.middle(self.down(x)).view(-1, 24, 2, 2))
        return ((F.pad(x, (0, 1, 0, 1), mode="reflect") - y) ** 2).mean(dim=(1, 2, 3))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(4, 12, num_layers=2, bidirectional=True, batch_first=True)
        self.lstm = nn.LSTM(24, 9, num_layers=2, bidirectional=True)
        self.head = nn.Linear(18 + 48, 3)

    def forward(self, x: Tensor) -> Tensor:
        states, last = self.gru(x)
        y = self.lstm(states.transpose(0, 1))[0]
        return self.head(torch.cat([y.mean(0), last.permute(1, 0, 2).flatten(1)], 1))


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, activation="gelu", norm_first=True)
        self.first, self.encoder = (
            nn.Linear(6, 16),
            nn.TransformerEncoder(layer, 2, enable_nested_tensor=False),
        )
        self.head = nn.Linear(16, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(self.first(x)).amax(1))


def _momenta(rng: np.random.Generator, count: int, particles: int) -> np.ndarray:
    p = rng.normal(size=(count, 3, particles)) * 5
    return np.concatenate([p, np.sqrt((p**2).sum(1, keepdims=True) + 0.1)], 1)


def _mask(rng: np.random.Generator, count: int, particles: int) -> np.ndarray:
    return (np.arange(particles) < rng.integers(10, particles + 1, (count, 1)))[:, None].astype(np.float32)


def _with_statistics(module: nn.Module) -> nn.Module:
    """Set batch normalisations to means and variances as after training."""
    torch.manual_seed(3)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(part.running_mean, std=0.2)
            nn.init.uniform_(part.running_var, 0.5, 2.0)
            nn.init.normal_(part.weight, 1.0, 0.2)
            nn.init.normal_(part.bias, std=0.2)
    return module.eval()


def _exported(module: nn.Module, events: dict[str, np.ndarray], opset: int) -> onnx.ModelProto:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module, tuple(torch.from_numpy(one[:2]) for one in events.values()), buffer, input_names=list(events),
            output_names=["score"], dynamic_axes={name: {0: "N"} for name in (*events, "score")}, opset_version=opset,
            dynamo=False,
        )  # fmt: skip
    return onnx.load_model_from_string(buffer.getvalue())


def _events(kind: str, count: int = 40) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    shapes = {
        "DeepJet": {"jet": (15,), "charged": (25, 16), "vertices": (4, 12)},
        "DeepAK8": {"x": (10, 50)},
        "InteractionNetwork": {"x": (6, 12)},
        "EnergyFlow": {"momenta": (30, 3)},
        "Autoencoder": {"x": (1, 16, 16)},
        "Recurrent": {"x": (10, 4)},
        "Encoder": {"x": (9, 6)},
    }
    if kind in shapes:
        events = {name: rng.normal(size=(count, *shape)) for name, shape in shapes[kind].items()}
        if kind == "EnergyFlow":
            events["momenta"][..., 0] = np.maximum(0.0, events["momenta"][..., 0])
    elif kind == "ParticleNet":
        mask = _mask(rng, count, 24)
        events = {"points": rng.normal(size=(count, 2, 24)) * mask, "features": rng.normal(size=(count, 7, 24)) * mask, "mask": mask}  # fmt: skip
    else:
        events = {"features": rng.normal(size=(count, 5, 16)), "momenta": _momenta(rng, count, 16), "mask": _mask(rng, count, 16)}  # fmt: skip
    return {name: values.astype(np.float32) for name, values in events.items()}


ARCHITECTURES = (ParticleNet, DeepJet, DeepAK8, InteractionNetwork, EnergyFlow, ParticleTransformer, Autoencoder, Recurrent, Encoder)  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "opset"),
    [
        *((kind, 17) for kind in ARCHITECTURES if kind is not ParticleTransformer),
        pytest.param(ParticleTransformer, 17, marks=pytest.mark.slow),
        (ParticleNet, 13),
        (DeepJet, 13),
    ],
    ids=lambda one: one.__name__ if isinstance(one, type) else str(one),
)
def test_published_architecture(kind: type[nn.Module], opset: int, check, case_of) -> None:
    torch.manual_seed(7)
    events = _events(kind.__name__)
    model = _exported(_with_statistics(kind()), events, opset)
    case = case_of(model, {name: values[:, None] for name, values in events.items()})
    check({kind.__name__: case}, batches=(1, 3, 17, 40))


def test_relation_matrices_are_gathers_and_sums_of_parts() -> None:
    events = _events("InteractionNetwork", 2)
    model = _exported(InteractionNetwork(), events, 17)
    program = compile_model(model, {name: array[:1] for name, array in events.items()}).narrow
    particles, pairs = 12, 12 * 11
    contractions = [one for one in program.statements if isinstance(one, Contract)]
    assert contractions
    assert not any(one.weights.shape[1:] in ((particles, pairs), (pairs, particles)) for one in contractions)
    first = contractions[0]
    assert prod(first.positions) == particles  # the first layer of the pairs, computed for each particle
