"""Selections as people write them: `count(Muon_pt > 24 and abs(Muon_eta) < 2.4) >= 1 and MET_pt > 60`.

Names are columns. A list per event is worked on element by element; `count`, `any`, `all`, `sum`, `max`, `min` and `at`
make one value per event of it. A comparison with NaN is no answer: such an event is told as undecided, not as rejected.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from quickbeam._base import DataError, UsageError, did_you_mean
from quickbeam.events import ColumnData, Frame, Jagged

Value = Any  # a number, one value per event, or a Jagged
_Step = Callable[["_Run"], Value]

_ARITHMETIC: dict[type[ast.operator], Callable[..., Any]] = {
    ast.Add: np.add,
    ast.Sub: np.subtract,
    ast.Mult: np.multiply,
    ast.Div: np.true_divide,
    ast.Mod: np.mod,
    ast.Pow: np.power,
}
_COMPARISONS: dict[type[ast.cmpop], Callable[..., Any]] = {
    ast.Lt: np.less,
    ast.LtE: np.less_equal,
    ast.Gt: np.greater,
    ast.GtE: np.greater_equal,
    ast.Eq: np.equal,
    ast.NotEq: np.not_equal,
}
_ELEMENTWISE: dict[str, tuple[int, Callable[..., Any]]] = {
    "abs": (1, np.abs),
    "sqrt": (1, np.sqrt),
    "exp": (1, np.exp),
    "log": (1, np.log),
    "sin": (1, np.sin),
    "cos": (1, np.cos),
    "cosh": (1, np.cosh),
    "hypot": (2, np.hypot),
    "delta_phi": (2, lambda a, b: (a - b + np.pi) % (2 * np.pi) - np.pi),
    "where": (3, np.where),
}


@dataclass(slots=True)
class _Run:
    """One evaluation: the events, and which of them met a NaN in a comparison."""

    frame: Frame
    undecided: np.ndarray | None = None

    def met_nan(self, value: Value) -> None:
        """Note the events in which a value is NaN."""
        values = value.flat if isinstance(value, Jagged) else value
        if getattr(values, "dtype", None) is None or values.dtype.kind != "f":
            return
        bad = np.isnan(values)
        if not bad.any():
            return
        events = _per_event(np.add, value, bad) > 0 if isinstance(value, Jagged) else bad
        self.undecided = events if self.undecided is None else self.undecided | events


@dataclass(frozen=True)
class Expression:
    """A compiled selection or quantity; `reads` names its columns."""

    text: str
    reads: tuple[str, ...]
    _step: _Step = field(repr=False, compare=False)

    def __call__(self, frame: Frame) -> tuple[np.ndarray, np.ndarray | None]:
        """Return one value per event, and a mask of the events that a NaN left undecided (None: not one)."""
        value, undecided = self.quantity(frame)
        if isinstance(value, Jagged):
            raise UsageError(
                f"{self.text!r} has a list per event; make one value of it with any(...), count(...) or max(...)"
            )
        return value, undecided

    def quantity(self, frame: Frame) -> tuple[ColumnData, np.ndarray | None]:
        """Return the same, where a list per event is as good."""
        run = _Run(frame)
        with np.errstate(all="ignore"):
            value = self._step(run)
        if not isinstance(value, Jagged) and (not isinstance(value, np.ndarray) or value.ndim == 0):
            value = np.full(len(frame), value)
        return value, run.undecided


Threshold = Callable[..., float]


def _no_threshold(*names: str) -> float:
    raise UsageError(f"there is no threshold {', '.join(names)} here")


def parse_expression(text: str, threshold: Threshold = _no_threshold) -> Expression:
    """Compile a selection; what is not understood is told with its column in the text.

    `threshold` gives the number behind threshold('name') and threshold('stage', 'working point').
    """
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        where = (
            f" at character {error.offset}"
            if isinstance(error, SyntaxError) and error.offset
            else " to its end"
        )
        raise UsageError(f"the expression {text!r} does not parse{where}") from error
    compiler = _Compiler(text, threshold)
    try:
        step = compiler.step(tree.body)
    except RecursionError as error:
        raise UsageError(f"the expression {text[:60]!r}... is nested too deeply") from error
    return Expression(text, tuple(sorted(compiler.names)), step)


class _Compiler:
    """Turns a syntax tree into one call per node, once; evaluating it never looks at the text again."""

    def __init__(self, text: str, threshold: Threshold) -> None:
        self.text = text
        self.threshold = threshold
        self.names: set[str] = set()

    def step(self, node: ast.expr) -> _Step:
        """Compile one node."""
        match node:
            case ast.Constant(value=bool() | int() | float() as number):
                return lambda _: number
            case ast.Name(id=name):
                self.names.add(name)
                return lambda run: run.frame[name]
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() | ast.Not() as op, operand=operand):
                inner = self.step(operand)
                function = {ast.USub: np.negative, ast.UAdd: np.positive, ast.Not: np.logical_not}[type(op)]
                return lambda run: _map(self.text, function, inner(run))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                first, second, arithmetic = self.step(left), self.step(right), _ARITHMETIC[type(op)]
                return lambda run: _map(self.text, arithmetic, first(run), second(run))
            case ast.BoolOp(op=op, values=values):
                parts = [self.step(value) for value in values]
                return self._joined(np.logical_and if isinstance(op, ast.And) else np.logical_or, parts)
            case ast.Compare():
                return self._comparison(node)
            case ast.Call(func=ast.Name(id="threshold"), args=arguments, keywords=[]):
                return self._threshold(node, arguments)
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                return self._call(node, name, arguments)
        raise self._unknown(node, f"{ast.unparse(node)!r} is not understood")

    def _joined(self, function: Callable[..., Any], parts: list[_Step]) -> _Step:
        def run_all(run: _Run) -> Value:
            value = parts[0](run)
            for part in parts[1:]:
                value = _map(self.text, function, value, part(run))
            return value

        return run_all

    def _comparison(self, node: ast.Compare) -> _Step:
        if any(type(op) not in _COMPARISONS for op in node.ops):
            raise self._unknown(
                node, f"{ast.unparse(node)!r} compares with something else than < <= > >= == !="
            )
        operands = [self.step(value) for value in (node.left, *node.comparators)]
        functions = [_COMPARISONS[type(op)] for op in node.ops]

        def compare(run: _Run) -> Value:
            values = [operand(run) for operand in operands]
            for value in values:
                run.met_nan(value)
            result = _map(self.text, functions[0], values[0], values[1])
            for function, left, right in zip(functions[1:], values[1:], values[2:], strict=False):
                result = _map(self.text, np.logical_and, result, _map(self.text, function, left, right))
            return result

        return compare

    def _threshold(self, node: ast.expr, arguments: list[ast.expr]) -> _Step:
        names = [a.value for a in arguments if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        if len(names) != len(arguments) or not 1 <= len(names) <= 2:
            raise self._unknown(
                node,
                "threshold takes a name in quotes, or a stage and its working point: threshold('anomaly', 'tight')",
            )
        try:
            number = np.float64(self.threshold(*names))  # not weak: scores are compared in double precision
        except UsageError as error:
            raise self._unknown(node, str(error)) from error
        return lambda _: number

    def _call(self, node: ast.Call, name: str, arguments: list[ast.expr]) -> _Step:
        known = {
            **{key: count for key, (count, _) in _ELEMENTWISE.items()},
            **dict.fromkeys(_REDUCTIONS, 1),
            "at": 3,
        }
        if name not in known:
            raise self._unknown(
                node,
                f"no function is called {name!r}; {did_you_mean(name, sorted([*known, 'threshold']))}".rstrip(
                    "; "
                ),
            )
        if len(arguments) != known[name]:
            told = " (the list, the place from 0, what counts where there is none)" if name == "at" else ""
            raise self._unknown(node, f"{name} takes {known[name]} arguments{told}, not {len(arguments)}")
        steps = [self.step(argument) for argument in arguments]
        if name in _ELEMENTWISE:
            function = _ELEMENTWISE[name][1]
            return lambda run: _map(self.text, function, *(step(run) for step in steps))
        if name == "at":
            return lambda run: _at(self.text, *(step(run) for step in steps))
        reduction = _REDUCTIONS[name]
        return lambda run: _reduce(self.text, name, reduction, steps[0](run))

    def _unknown(self, node: ast.expr, told: str) -> UsageError:
        return UsageError(f"the expression {self.text!r}, character {node.col_offset + 1}: {told}")


def _map(text: str, function: Callable[..., Any], *values: Value) -> Value:
    """Work element by element; a value per event goes along with each element of that event's list."""
    lists = [value for value in values if isinstance(value, Jagged)]
    if not lists:
        return function(*values)
    offsets = lists[0].offsets
    for other in lists[1:]:
        if other.offsets is not offsets and not np.array_equal(other.counts, lists[0].counts):
            raise DataError(f"{text!r} joins lists of different lengths, such as those of two collections")
    counts = None
    flat = []
    for value in values:
        if isinstance(value, Jagged):
            flat.append(value.flat)
        elif isinstance(value, np.ndarray) and value.ndim:
            counts = lists[0].counts if counts is None else counts
            flat.append(np.repeat(value, counts))
        else:
            flat.append(value)
    return Jagged(offsets - offsets[0] if offsets[0] else offsets, function(*flat))


def _per_event(function: np.ufunc, value: Jagged, flat: np.ndarray, empty: float = 0) -> np.ndarray:
    """Reduce each event's part of `flat`; `empty` stands for an event with no elements."""
    starts, counts = value.offsets[:-1] - value.offsets[0], value.counts
    kind = flat.dtype if flat.dtype.kind != "b" else np.dtype(np.int64)
    if not np.isfinite(empty) and kind.kind != "f":
        kind = np.dtype(np.float64)
    result = np.full(len(counts), empty, kind)
    filled = counts > 0
    if filled.any():
        result[filled] = function.reduceat(flat.astype(kind, copy=False), starts[filled])
    return result


def _sum_kind(flat: np.ndarray) -> np.ndarray:
    return flat.astype(np.float64) if flat.dtype.kind == "f" else flat


_REDUCTIONS: dict[str, Callable[[Jagged], np.ndarray]] = {
    "count": lambda v: _per_event(np.add, v, v.flat.astype(bool)),
    "any": lambda v: _per_event(np.add, v, v.flat.astype(bool)) > 0,
    "all": lambda v: _per_event(np.add, v, ~v.flat.astype(bool)) == 0,
    "sum": lambda v: _per_event(np.add, v, _sum_kind(v.flat)),
    "max": lambda v: _per_event(np.maximum, v, v.flat, -np.inf),
    "min": lambda v: _per_event(np.minimum, v, v.flat, np.inf),
}


def _reduce(text: str, name: str, function: Callable[[Jagged], np.ndarray], value: Value) -> np.ndarray:
    if not isinstance(value, Jagged):
        raise UsageError(f"{text!r}: {name}(...) takes a list per event, and got one value")
    return function(value)


def _at(text: str, value: Value, place: Value, other: Value) -> np.ndarray:
    """Return the element at a place of each event's list, or what counts where it is shorter."""
    if not isinstance(value, Jagged) or not isinstance(place, int) or place < 0:
        raise UsageError(f"{text!r}: at(...) takes a list per event and a whole number from 0 on")
    there = value.counts > place
    kind = np.result_type(value.values.dtype, np.min_scalar_type(other))
    found = np.full(len(value), other, kind)
    found[there] = value.values[value.offsets[:-1][there] + place]
    return found
