"""Trees that somebody trained on floats, as trees of integers: inputs, thresholds, leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tamis._base import DataError
from tamis.compress.trees.forests import EXCLUDING, ForestNode

SUM_BITS = 24  # integers that float32 adds exactly
SMALLEST_STEP = 2.0**-60
EXTREME_VALUES = 0.002  # of the rows, beyond which a single threshold does not matter
FRACTIONS = (-60, 60)


@dataclass(frozen=True)
class InputGrid:
    """Codes `round(x * 2^fraction) - offset` of every input, limited to `bits` bits; values beyond all thresholds saturate."""

    fraction: np.ndarray
    offset: np.ndarray
    bits: int
    exact: int  # inputs whose values in the rows are on their grid, so that every comparison is as before


def choose_grid(forests: Sequence[ForestNode], rows: np.ndarray, bits: int) -> InputGrid:
    """Return the finest grid on which the thresholds of every input fit, or a coarser one that holds all values of the rows."""
    features = np.concatenate([forest.features for forest in forests])
    thresholds = np.concatenate([forest.thresholds for forest in forests])
    missing = int(np.isnan(rows[:, np.unique(features)]).any(axis=1).sum())
    if missing:
        raise DataError(
            f"{missing} of {len(rows)} rows have missing values (NaN), which integers have not: train with another number in their place, "
            "or give rows without them"
        )
    columns = rows.shape[1]
    fraction, offset, exact = np.zeros(columns), np.zeros(columns), 0
    for column in np.unique(features):
        asked = thresholds[features == column]
        values = rows[:, column].astype(np.float64)
        values = values[np.isfinite(values)]
        low, high = asked.min(), asked.max()
        if high == low and len(values):
            low, high = (
                np.minimum(low, np.quantile(values, EXTREME_VALUES)),
                np.maximum(high, np.quantile(values, 1 - EXTREME_VALUES)),
            )
        span = high - low if high > low else 1.0
        finest = int(np.clip(np.floor(np.log2((2.0**bits - 3) / span)), *FRACTIONS))
        own = _fraction_of(values, finest)
        exact += own is not None
        fraction[column] = finest if own is None else own
        offset[column] = np.floor(np.ldexp(low, int(fraction[column]))) - 1
    return InputGrid(fraction.astype(np.int64), offset, bits, exact)


def _fraction_of(values: np.ndarray, finest: int) -> int | None:
    """Return the fewest fraction bits, up to some, that hold all values exactly; None if these do not."""
    if not len(values) or (np.rint(np.ldexp(values, finest)) != np.ldexp(values, finest)).any():
        return None
    while (
        finest > FRACTIONS[0]
        and (np.rint(np.ldexp(values, finest - 1)) == np.ldexp(values, finest - 1)).all()
    ):
        finest -= 1
    return finest


def leaf_step(model: onnx.ModelProto, forests: Sequence[ForestNode], bits: int) -> float:
    """Return the power of two of which leaves are multiples: the smallest with which `bits` bits, with the sign, hold the largest one.

    It is larger where float32 could not add the leaves exactly otherwise.
    """
    arrays = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    largest = max(float(np.abs(forest.leaves).max()) for forest in forests)
    reach = max(
        forest.trees * float(np.abs(forest.leaves).max())
        + (float(np.abs(arrays[forest.base]).max()) if forest.base else 0.0)
        for forest in forests
    )
    least = max(largest / (2.0 ** (bits - 1) - 1), reach / (2.0**SUM_BITS - 1), SMALLEST_STEP)
    return float(2.0 ** np.ceil(np.log2(least)))


def quantised_forest(
    model: onnx.ModelProto, forests: Sequence[ForestNode], grids: Mapping[str, InputGrid], step: float
) -> onnx.ModelProto:
    """Return the graph with trees of integers behind their quantised inputs."""
    arrays = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    made = onnx.ModelProto()
    made.CopyFrom(model)
    del made.graph.node[:], made.graph.initializer[:], made.graph.value_info[:]
    bases = {forest.base for forest in forests if forest.base}
    for name, value in arrays.items():
        rounded = (np.rint(value / step) * step).astype(np.float32) if name in bases else value
        made.graph.initializer.append(numpy_helper.from_array(rounded, name))
    places = {forest.place: forest for forest in forests}
    done = set[str]()
    for place, node in enumerate(model.graph.node):
        forest = places.get(place)
        if forest is None:
            made.graph.node.append(node)
            continue
        grid = grids[forest.source]
        if forest.source not in done:
            done.add(forest.source)
            nodes, constants = _codes(forest.source, grid)
            made.graph.node.extend(nodes)
            made.graph.initializer.extend(constants)
        made.graph.node.append(_integers(forest, grid, step))
    return made


def _codes(source: str, grid: InputGrid) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Return the nodes that make codes of inputs."""
    constants = [
        numpy_helper.from_array(np.asarray(value, np.float32), f"{source}/codes/{name}")
        for name, value in (
            ("scale", np.exp2(grid.fraction.astype(np.float64))),
            ("offset", grid.offset),
            ("low", 0),
            ("high", 2**grid.bits - 1),
        )
    ]
    scale, offset, low, high = (one.name for one in constants)
    steps = (
        ("Mul", [source, scale], "scaled"),
        ("Round", [f"{source}/codes/scaled"], "rounded"),
        ("Sub", [f"{source}/codes/rounded", offset], "moved"),
        ("Clip", [f"{source}/codes/moved", low, high], "limited"),
    )
    nodes = [
        helper.make_node(operator, inputs, [f"{source}/codes/{name}"]) for operator, inputs, name in steps
    ]
    return nodes, constants


def _integers(forest: ForestNode, grid: InputGrid, step: float) -> onnx.NodeProto:
    """Return the trees with thresholds among the codes: exact where inputs are on the grid, else off by half a step at most."""
    attributes = dict(forest.attributes)
    values = np.array(attributes["nodes_values"], np.float64)
    modes = np.array([mode.decode() for mode in attributes["nodes_modes"]])
    where, features = forest.questions, forest.features
    scaled = np.ldexp(forest.thresholds, grid.fraction[features])
    whole = np.where(np.isin(modes[where], list(EXCLUDING)), np.ceil(scaled), np.floor(scaled))
    values[where] = whole - grid.offset[features]
    attributes["nodes_values"] = values.tolist()
    attributes["target_weights"] = (np.rint(forest.leaves / step) * step).tolist()
    if "base_values" in attributes:
        attributes["base_values"] = (np.rint(np.array(attributes["base_values"]) / step) * step).tolist()
    node = helper.make_node(
        "TreeEnsembleRegressor",
        [f"{forest.source}/codes/limited"],
        list(forest.node.output),
        domain="ai.onnx.ml",
        name=forest.node.name,
    )
    node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
    return node
