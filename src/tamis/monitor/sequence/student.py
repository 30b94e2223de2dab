"""A student of a recurrent monitor: from the features of a whole block it predicts the logarithm of the teacher's score.

The teacher takes every step of a block; the student takes the block once. It remembers a slow running mean of good blocks, and the teacher's running
mean of their steps. Its graph has the inputs and outputs of the template detector, whose scores it uses for the first block of a run and long after
its reference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from tamis._base import DataError
from tamis.bundle import Bundle, Packed
from tamis.monitor.detectors import DETECTORS
from tamis.monitor.features import ObservedBlock, observed, steps_have
from tamis.monitor.model import ModeLimits, MonitorModel, monitor_of
from tamis.monitor.packing import pack_monitor
from tamis.monitor.sequence.document import sequence_of
from tamis.monitor.sequence.fit import whitening
from tamis.monitor.sequence.judge import SequenceJudge, open_sequence_judge
from tamis.monitor.sequence.learn import Report
from tamis.monitor.sequence.settings import CLIP
from tamis.monitor.sequence.student_judge import moved_means, recent_part
from tamis.monitor.stream import stream_blocks
from tamis.monitor.template import BETWEEN, LATER, WITHIN, ModeTemplate, fit_mode, weight_of
from tamis.monitor.template_graph import MODES_MOST
from tamis.monitor.training import (
    FALSE_SCORES,
    GOLDEN_BLOCKS,
    LIMIT_MARGIN,
    fit_limits,
    tail_limit,
)
from tamis.zoo.training.export import export_graph

STUDENT_HIDDEN = 16
SCORE_LEAST = 0.02  # of a teacher's limit: smaller scores count as this, as their logarithm matters to nobody
STUDENT_ROWS = 256  # in a batch
STUDENT_RATE = 2e-3


@dataclass(frozen=True)
class StudentRows:
    """Blocks of one mode as the student sees them."""

    change: (
        np.ndarray
    )  # (blocks, 2 x features): against the slow and the fast running mean, in units of the scale
    loss: np.ndarray  # (blocks,): logarithm of the teacher's score over its limit
    good: np.ndarray  # (blocks,): what the teacher says
    share: np.ndarray  # (blocks,): of the events of a typical block


def taught(
    teacher: SequenceJudge, blocks: Sequence[ObservedBlock]
) -> dict[int, list[tuple[ObservedBlock, float, bool, int]]]:
    """Return the blocks that a teacher judges, by mode: with its score, whether they are good, and what they were compared with."""
    found: dict[int, list[tuple[ObservedBlock, float, bool, int]]] = {}
    for block in blocks:
        verdict = teacher.judge(block)
        if verdict.state in ("good", "bad"):
            row = block, verdict.score, verdict.state == "good", verdict.compared
            found.setdefault(block.mode, []).append(row)
    return found


def student_rows(
    template: ModeTemplate,
    judged: Sequence[tuple[ObservedBlock, float, bool, int]],
    events: float,
    on_steps: np.ndarray,
) -> StudentRows:
    """Return what the student is to learn from blocks in the order of time."""
    residual = template.expectation.residuals([block for block, *_ in judged])
    means = np.tile(residual[0], 2)
    change, kept, run, age, flagged = [], [], judged[0][0].key[0], 1, 0
    for k, (block, own_score, _, compared) in enumerate(judged):
        if block.key[0] != run:
            run, age, flagged = block.key[0], 0, 0
        change.append(np.tile(residual[k], 2) - means)
        kept.append(compared == WITHIN and age > 0)
        if own_score <= 1:  # as a judge does: a burst alone does not keep its means where they are
            age = 0 if flagged >= 10 else age
            part = recent_part(block, template.expectation.scale, on_steps, residual[k])
            means = moved_means(means, part, weight_of(age))
            age, flagged = age + 1, 0
        else:
            flagged += 1
    used = np.array(kept)
    score = np.array([one for _, one, _, _ in judged])
    share = np.minimum(1, np.array([block.events for block, *_ in judged]) / events)
    good_ones = np.array([good for _, _, good, _ in judged])
    return StudentRows(
        np.stack(change)[used], np.log(np.maximum(score, SCORE_LEAST))[used], good_ones[used], share[used]
    )


class StudentNetwork(nn.Module):
    """The teacher's distance, with a linear function of the past in the place of its network, and a small correction of the logarithm."""

    def __init__(self, whiten: np.ndarray, metric: np.ndarray, seed: int) -> None:
        """Begin with the teacher's distance from its running mean."""
        super().__init__()
        features = len(metric)
        generator = torch.Generator().manual_seed(seed)
        self.register_buffer("whiten", torch.from_numpy(whiten.astype(np.float32)))
        self.register_buffer("metric", torch.from_numpy(metric.astype(np.float32)))
        self.pull = nn.Parameter(0.01 * torch.randn(features, metric.shape[1], generator=generator))
        self.floor = nn.Parameter(torch.tensor(-6.0))
        self.hidden = nn.Parameter(
            torch.randn(2 * features, STUDENT_HIDDEN, generator=generator) / (2 * features) ** 0.5
        )
        self.hidden_bias = nn.Parameter(torch.zeros(STUDENT_HIDDEN))
        self.add = nn.Parameter(torch.zeros(STUDENT_HIDDEN, 1))
        self.add_bias = nn.Parameter(torch.zeros(1))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the numbers by name."""
        return {name: value.detach().numpy() for name, value in self.state_dict().items()}


def student_loss(own: Mapping[str, Tensor], change: Tensor) -> Tensor:
    """Return the logarithm of the score, (rows, 1); weights are those of all rows or of each."""
    size = change.shape[1] // 2
    fast = change[:, size:]
    u = _times(torch.cat([change[:, :size] - fast, fast], 1), own["whiten"])
    pulls = _times(fast, own["metric"]) + _times(u[:, :size], own["pull"])
    squares = (pulls * pulls).sum(1, keepdim=True)
    hidden = torch.relu(_times(torch.clamp(u, -CLIP, CLIP), own["hidden"]) + own["hidden_bias"])
    return torch.log(squares + torch.exp(own["floor"])) + _times(hidden, own["add"]) + own["add_bias"]


def _times(x: Tensor, matrix: Tensor) -> Tensor:
    return x @ matrix if matrix.ndim == 2 else (x.unsqueeze(1) @ matrix).squeeze(1)


def train_student_mode(
    rows: StudentRows, metric: np.ndarray, seed: int, epochs: int, report: Report
) -> StudentNetwork:
    """Return a network that predicts the teacher's loss of blocks; `metric` takes a change to the errors that the teacher squares."""
    good = rows.change[rows.good]
    features = good.shape[1] // 2
    past, fast = good[:, :features] - good[:, features:], good[:, features:]
    whiten = np.zeros((2 * features, 2 * features))
    for place, part in ((slice(None, features), past), (slice(features, None), fast)):
        whiten[place, place] = whitening(np.cov(part.T) + 1e-8 * np.eye(features))
    network = StudentNetwork(whiten, metric, seed)
    x = torch.from_numpy((rows.change * np.sqrt(rows.share)[:, None]).astype(np.float32))
    y = torch.from_numpy(rows.loss.astype(np.float32))[:, None]
    with torch.no_grad():
        network.add_bias.copy_((y - student_loss(network.state_dict(), x)).median())
    optimiser = torch.optim.Adam(network.parameters(), STUDENT_RATE)
    generator = torch.Generator().manual_seed(seed)
    for epoch in range(epochs):
        rate = STUDENT_RATE * 0.5 * (1 + float(np.cos(np.pi * epoch / epochs)))
        optimiser.param_groups[0]["lr"] = rate
        total = 0.0
        for own in torch.split(torch.randperm(len(x), generator=generator), STUDENT_ROWS):
            named = dict(network.named_parameters()) | dict(network.named_buffers())
            loss = nn.functional.smooth_l1_loss(student_loss(named, x[own]), y[own], beta=0.5)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call] # torch leaves it untyped
            optimiser.step()
            total += float(loss.detach()) * len(own)
        report({"epoch": float(epoch + 1), "train_loss": total / len(x), "learning_rate": rate})
    return network


class StudentGraph(nn.Module):
    """One block of each stream: the student's score within a run, the template's otherwise."""

    def __init__(self, modes: Mapping[int, Mapping[str, np.ndarray]]) -> None:
        """Stack the parameters of the modes; a mode that is not known has those of the first one."""
        super().__init__()
        filler = next(iter(modes.values()))
        self._names = list(filler)
        for name in self._names:
            rows = np.stack([modes.get(mode, filler)[name] for mode in range(MODES_MOST)])
            self.register_buffer("mode_" + name, torch.from_numpy(rows.astype(np.float32)))

    def forward(
        self,
        features: Tensor,
        condition: Tensor,
        mode: Tensor,
        reference: Tensor,
        weight: Tensor,
        compared: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the score, the residual (twice, for both means) and the change against the slow mean."""
        own = {name: getattr(self, "mode_" + name)[mode] for name in self._names}
        c = condition / own["condition"]
        expected = _times(torch.cat([torch.ones_like(c), c, c * c], 1), own["expected"])
        residual = features / own["scale"] - expected
        both = torch.cat([residual, residual], 1)
        change = both - reference
        slow = change[:, : features.shape[1]]
        log_score = torch.clamp(student_loss(own, change * weight), max=60.0)
        first, later = (_times(slow * weight, own[name]) for name in ("between", "later"))
        score = torch.where(
            (compared == LATER).unsqueeze(1),
            (later * later).sum(1, keepdim=True),
            torch.where(
                (compared == BETWEEN).unsqueeze(1),
                (first * first).sum(1, keepdim=True),
                torch.exp(log_score) * own["gain"],
            ),
        )
        return score, both, slow


def train_student(
    teacher: Bundle,
    folders: Sequence[Path],
    target: Path,
    *,
    seed: int = 1,
    epochs: int = 60,
    engine: str = "native",
    report: Report = lambda _: None,
) -> Packed:
    """Train a student on what a teacher says of streams, which may have faults, and pack it."""
    monitor = monitor_of(teacher)
    streams = []
    for folder in folders:
        judge = open_sequence_judge(teacher, engine)
        streams.append(
            taught(judge, [observed(one, monitor.watch) for one in stream_blocks(folder, monitor.watch)])
        )
    of_teacher = sequence_of(teacher).parameters()
    parameters: dict[int, dict[str, np.ndarray]] = {}
    limits: dict[int, ModeLimits] = {}
    for mode in sorted({mode for one in streams for mode in one}):
        own = [one[mode] for one in streams if mode in one]
        parameters[mode], limits[mode] = _taught_mode(own, monitor, of_teacher[mode], seed, epochs, report)
    if not parameters:
        raise DataError(
            f"the teacher {teacher.path} judges no block of {', '.join(str(one) for one in folders)}"
        )
    model = MonitorModel(
        watch=monitor.watch, detector="student", modes=limits, streams=[one.name for one in folders]
    )
    examples = [row[0] for one in streams for rows in one.values() for row in rows]
    return _pack_student(
        model, parameters, examples[:: max(1, len(examples) // GOLDEN_BLOCKS)], target, teacher
    )


def _taught_mode(
    streams: Sequence[Sequence[tuple[ObservedBlock, float, bool, int]]],
    monitor: MonitorModel,
    own: Mapping[str, np.ndarray],
    seed: int,
    epochs: int,
    report: Report,
) -> tuple[dict[str, np.ndarray], ModeLimits]:
    """Return the parameters of the student's graph and its limits, for one mode; `own` are those of the teacher."""
    good = [[block for block, _, is_good, _ in one if is_good] for one in streams]
    template = fit_mode(good, steps_have(monitor.watch), DETECTORS["template"])
    teacher = monitor.modes[good[0][0].mode]
    # Bursts are what the teacher says, as the streams may have some that it does not find.
    limits = fit_limits(template, good, monitor.watch, DETECTORS["template"]).model_copy(
        update={"most": teacher.most, "most_edges": teacher.most_edges, "steps": None}
    )
    on_steps = steps_have(monitor.watch)
    parts = [student_rows(template, one, template.expectation.events, on_steps) for one in streams]
    rows = StudentRows(*(np.concatenate([getattr(one, name) for one in parts]) for name in vars(parts[0])))
    network = train_student_mode(
        rows, _metric(own, template.expectation.scale, on_steps), seed, epochs, report
    )
    x = torch.from_numpy((rows.change * np.sqrt(rows.share)[:, None]).astype(np.float32))
    with torch.no_grad():
        scores = np.exp(student_loss(network.state_dict(), x).numpy()[:, 0].astype(np.float64))
    limit = LIMIT_MARGIN * tail_limit(scores[rows.good], FALSE_SCORES)
    parameters = network.arrays() | {
        "scale": template.expectation.scale, "condition": np.array([template.expectation.condition]), "expected": template.expectation.powers,
        "between": template.whitening[BETWEEN], "later": template.whitening[LATER], "gain": np.array([limits.within / limit]),
    }  # fmt: skip
    return parameters | {"floor": np.reshape(parameters["floor"], 1)}, limits


def _metric(own: Mapping[str, np.ndarray], scale: np.ndarray, on_steps: np.ndarray) -> np.ndarray:
    """Return what takes a change in units of `scale` to the errors of which the teacher's score is the squared length."""
    found = np.zeros((len(scale), own["within"].shape[1]))
    found[on_steps] = (scale[on_steps] / own["scale"])[:, None] * (own["whiten"] @ own["within"])
    return found


def _pack_student(
    model: MonitorModel,
    parameters: Mapping[int, Mapping[str, np.ndarray]],
    examples: Sequence[ObservedBlock],
    target: Path,
    teacher: Bundle,
) -> Packed:
    graph = StudentGraph(parameters)
    width = len(examples[0].features)
    inputs: dict[str, np.ndarray] = {
        "features": np.stack([one.features for one in examples]).astype(np.float32),
        "condition": np.array([[one.condition] for one in examples], np.float32),
        "mode": np.array([one.mode for one in examples], np.int64),
        "reference": np.zeros((len(examples), 2 * width), np.float32),
        "weight": np.ones((len(examples), 1), np.float32),
        "compared": np.arange(len(examples), dtype=np.int64) % 3,
    }
    data = export_graph(
        graph,
        {name: torch.from_numpy(value[:2]) for name, value in inputs.items()},
        ["score", "residual", "change"],
    )
    onnx_model = onnx.load_from_string(data)
    for value, columns in zip(onnx_model.graph.output, (1, 2 * width, width), strict=True):
        value.CopyFrom(helper.make_tensor_value_info(value.name, TensorProto.FLOAT, ["N", columns]))
    return pack_monitor(
        onnx_model,
        target,
        model,
        inputs,
        f"Student of the monitor {teacher.name}: predicts its score from whole blocks",
        training={"teacher": teacher.name},
    )
