"""The template detector: how far a block is from the recent good blocks of its run, given the pile-up, in units of what good blocks scatter.

It is a graph with a state. `reference` is the running mean of good blocks; inputs and outputs carry it, so that a stream may be left and
taken up again. Each beam mode has parameters of its own: a mode that is added later changes nothing for the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tamis._base import DataError
from tamis.monitor.features import ObservedBlock

POWERS = 3  # 1, c, c^2 of the condition: more of them leave the range of the training too fast
MODES_MOST = 8
WITHIN, BETWEEN, LATER = (
    0,
    1,
    2,
)  # how a block is compared: within a run, as its first block, long after its reference
LAG = 30  # blocks, for the last of these
MEMORY = 0.2  # weight of the newest block in the reference
FLOOR = 1e-4  # of relative scatter: smaller ones are not trusted
BLOCKS_MIN = 100  # of a mode, to fit it


@dataclass(frozen=True)
class ModeTemplate:
    """What good blocks of one beam mode are like."""

    scale: np.ndarray  # (features,)
    condition: float  # typical
    expected: np.ndarray  # (POWERS, features): in units of the scale
    covariance: np.ndarray  # (features, features): of changes within a run
    within: np.ndarray  # (features, features): takes a change within a run to numbers of unit variance
    between: np.ndarray  # the same for the first block of a run
    later_covariance: np.ndarray  # of changes against a reference that is `LAG` blocks old
    later: np.ndarray  # takes such a change to numbers of unit variance
    events: float  # of a typical block
    between_spread: np.ndarray  # standard deviations of the first block of a run, (features,)


def powers_of(condition: np.ndarray, typical: float) -> np.ndarray:
    """Return the functions of the condition that features are expected to follow, (blocks, POWERS)."""
    c = np.asarray(condition) / typical
    return np.stack([np.ones_like(c), c, c**2], axis=1)


def fit_mode(streams: Sequence[Sequence[ObservedBlock]]) -> ModeTemplate:
    """Fit the template of one mode to good blocks of one stream or more, each in the order of time."""
    blocks = [one for stream in streams for one in stream]
    if len(blocks) < BLOCKS_MIN:
        raise DataError(
            f"there are {len(blocks)} good blocks of a beam mode; at least {BLOCKS_MIN} are needed"
        )
    features = np.stack([one.features for one in blocks])
    condition = np.array([one.condition for one in blocks])
    scale = np.maximum(np.abs(features.mean(axis=0)), features.std(axis=0))
    scale[scale == 0] = 1.0
    typical = float(np.median(condition)) or 1.0
    powers = powers_of(condition, typical)
    expected, *_ = np.linalg.lstsq(powers, features / scale, rcond=1e-10)
    residual = features / scale - powers @ expected
    within, jumps, later, begin = [], [], [], 0
    for stream in streams:
        own = residual[begin : begin + len(stream)]
        begin += len(stream)
        run = np.array([one.key[0] for one in stream])
        changes, is_first = changes_of(own, run)
        within.append(changes[~is_first])
        later.append(later_changes(own, changes, run))
        jumps.append(changes[is_first][1:])
    covariance = np.cov(np.concatenate(within).T) + FLOOR**2 * np.eye(len(scale))
    steps = np.concatenate(jumps)
    moved = _second_moment(steps)
    # Without their correlations, as a few runs do not span all directions.
    spread = np.diag(0.1 * np.diag(moved))
    events = float(np.median([one.events for one in blocks]))
    old = np.concatenate(later)
    later_covariance = covariance + (_second_moment(old) if len(old) else moved)
    between = 2 * covariance + moved + spread
    return ModeTemplate(
        scale, typical, expected, covariance, _whitening(covariance), _whitening(between), later_covariance,
        _whitening(later_covariance), events, np.sqrt(np.diag(between)),
    )  # fmt: skip


def changes_of(residual: np.ndarray, run: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the changes of good blocks against their reference, and which are the first of their run."""
    changes, is_first = np.zeros_like(residual), np.zeros(len(residual), bool)
    reference, age = residual[0], 0
    for k, own in enumerate(residual):
        is_first[k] = k == 0 or run[k] != run[k - 1]
        age = 0 if is_first[k] else age
        changes[k] = own - reference
        reference = own if age == 0 else reference + weight_of(age) * changes[k]
        age += 1
    return changes, is_first


def _second_moment(changes: np.ndarray) -> np.ndarray:
    moment: np.ndarray = changes.T @ changes / max(len(changes), 1)
    return moment


def later_changes(residual: np.ndarray, changes: np.ndarray, run: np.ndarray) -> np.ndarray:
    """Return the changes of good blocks against a reference that is `LAG` blocks old, within a run."""
    reference = residual - changes
    same = run[LAG:] == run[:-LAG]
    found: np.ndarray = (residual[LAG:] - reference[:-LAG])[same]
    return found


def weight_of(age: int) -> float:
    """Return the weight of a block in the reference, after `age` blocks of its run."""
    return max(MEMORY, 1 / (age + 1))


def _whitening(covariance: np.ndarray) -> np.ndarray:
    """Return a matrix W so that the squared length of x W is the Mahalanobis distance of x."""
    values, vectors = np.linalg.eigh(covariance)
    whitening: np.ndarray = vectors / np.sqrt(np.maximum(values, FLOOR**2 / 100))
    return whitening


def template_graph(modes: Mapping[int, ModeTemplate]) -> onnx.ModelProto:
    """Return the graph of one step: a block against its reference, for the beam modes that are known."""
    width = len(next(iter(modes.values())).scale)
    filler = next(iter(modes.values()))
    rows = [modes.get(mode, filler) for mode in range(MODES_MOST)]

    def constant(name: str, values: list[np.ndarray] | list[float]) -> onnx.TensorProto:
        return numpy_helper.from_array(np.asarray(values, np.float32), name)

    weights = [
        constant("scale", [one.scale for one in rows]),
        constant("typical", [np.array([one.condition]) for one in rows]),
        constant("expected_of", [one.expected for one in rows]),
        constant("within", [one.within for one in rows]),
        constant("between", [one.between for one in rows]),
        constant("later", [one.later for one in rows]),
        constant("more", [1.5]),
        constant("zero", [0.0]),
        numpy_helper.from_array(np.array([1], np.int64), "axis"),
        constant("half", [0.5]),
    ]
    node = helper.make_node
    nodes = [
        node("Gather", ["scale", "mode"], ["own_scale"]),
        node("Gather", ["typical", "mode"], ["own_typical"]),
        node("Gather", ["expected_of", "mode"], ["own_expected"]),
        node("Gather", ["within", "mode"], ["own_within"]),
        node("Gather", ["between", "mode"], ["own_between"]),
        node("Gather", ["later", "mode"], ["own_later"]),
        node("Div", ["condition", "own_typical"], ["c"]),
        node("Mul", ["c", "c"], ["c2"]),
        node("Pow", ["c", "zero"], ["c0"]),
        node("Concat", ["c0", "c", "c2"], ["powers"], axis=1),
        node("Unsqueeze", ["powers", "axis"], ["powers_row"]),
        node("MatMul", ["powers_row", "own_expected"], ["expected_row"]),
        node("Squeeze", ["expected_row", "axis"], ["expected"]),
        node("Div", ["features", "own_scale"], ["scaled"]),
        node("Sub", ["scaled", "expected"], ["residual"]),
        node("Sub", ["residual", "reference"], ["change"]),
        node("Mul", ["change", "weight"], ["weighted"]),
        node("Unsqueeze", ["weighted", "axis"], ["weighted_row"]),
    ]
    for name in ("within", "between", "later"):
        nodes += [
            node("MatMul", ["weighted_row", f"own_{name}"], [f"{name}_row"]),
            node("Squeeze", [f"{name}_row", "axis"], [f"{name}_pulls"]),
            node("ReduceSumSquare", [f"{name}_pulls"], [f"{name}_score"], axes=[1], keepdims=1),
        ]
    nodes += [
        node("Greater", ["compared", "half"], ["is_first"]),
        node("Greater", ["compared", "more"], ["is_later"]),
        node("Where", ["is_first", "between_score", "within_score"], ["near_score"]),
        node("Where", ["is_later", "later_score", "near_score"], ["score"]),
    ]

    def value(name: str, columns: int, kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, ["N", columns] if columns else ["N"])

    graph = helper.make_graph(
        nodes, "template",
        [value("features", width), value("condition", 1), value("mode", 0, TensorProto.INT64), value("reference", width), value("weight", 1), value("compared", 1)],
        [value("score", 1), value("residual", width), value("change", width)],
        weights,
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model
