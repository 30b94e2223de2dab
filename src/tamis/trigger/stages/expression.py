"""Selections such as `count(Muon_pt > 24 and abs(Muon_eta) < 2.4) >= 1 and MET_pt > 60`.

Names are columns. Operators work element by element on lists per event; `count`, `any`, `all`, `sum`, `max`, `min` and `at`
reduce a list to one value per event. A comparison with NaN has no result: such an event is undecided, not rejected. A
comparison with a missing value is false; `missing` tests for it.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from tamis._base import UsageError, did_you_mean
from tamis.events import ColumnData, Frame, Jagged, is_missing
from tamis.events.kinematics import delta_phi
from tamis.trigger.stages.arithmetic import LIST_REDUCTIONS, PLAIN, Value, ValueArithmetic, element
from tamis.trigger.stages.kinds import Kind, joined
from tamis.trigger.stages.missing import WITH_MISSING

_Step = Callable[["_Run"], Value]
KindOf = Callable[[str], Kind]  # the kind of a column
LIST_NOT_VALUE = "{!r} has a list per event; reduce it to one value with any(...), count(...) or max(...)"

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
    "delta_phi": (2, delta_phi),
    "where": (3, np.where),
    "missing": (1, is_missing),
}


@dataclass(slots=True)
class _Run:
    """One evaluation: the events, a mask of those with a comparison with NaN, and the arithmetic."""

    frame: Frame
    undecided: np.ndarray | None = None
    arithmetic: ValueArithmetic = PLAIN


@dataclass(frozen=True)
class Expression:
    """A compiled selection or quantity; `reads` are its columns."""

    text: str
    reads: tuple[str, ...]
    _step: _Step = field(repr=False, compare=False)
    kind: Callable[[KindOf], Kind] = field(repr=False, compare=False)  # raises UsageError for wrong types

    def check_condition(self, kind_of: KindOf) -> None:
        """Raise UsageError unless the expression can be a condition: one value per event, true or false."""
        kind = self.kind(kind_of)
        if kind.is_list:
            raise UsageError(LIST_NOT_VALUE.format(self.text))
        if kind.is_fractional:
            raise UsageError(f"{self.text!r} is a number, not a condition; compare it, as in {self.text} > 0")

    def __call__(self, frame: Frame) -> tuple[np.ndarray, np.ndarray | None]:
        """Return one value per event, and a mask of the events with a comparison with NaN, or None."""
        value, undecided = self.quantity(frame)
        return per_event(self, value), undecided

    def quantity(self, frame: Frame) -> tuple[ColumnData, np.ndarray | None]:
        """Return one value or one list per event, and a mask of the events with a comparison with NaN, or None."""
        with np.errstate(all="ignore"):
            return self.evaluate(frame)

    def evaluate(self, frame: Frame) -> tuple[ColumnData, np.ndarray | None]:
        """Return the same as `quantity`, for callers that have disabled numpy's warnings."""
        run = _Run(frame, None, WITH_MISSING) if frame.may_miss else _Run(frame)
        value = self._step(run)
        if not isinstance(value, Jagged) and (not isinstance(value, np.ndarray) or value.ndim == 0):
            value = np.full(len(frame), value)
        return value, run.undecided


def per_event(expression: Expression, value: ColumnData) -> np.ndarray:
    """Return a column of one value per event; raises if it has lists."""
    if isinstance(value, Jagged):
        raise UsageError(LIST_NOT_VALUE.format(expression.text))
    return value


Threshold = Callable[..., float]


def _no_threshold(*names: str) -> float:
    raise UsageError(f"there is no threshold {', '.join(names)} here")


def parse_expression(text: str, threshold: Threshold = _no_threshold) -> Expression:
    """Compile a selection; errors give the position in the text.

    `threshold` returns the number of threshold('name') and threshold('stage', 'working point').
    """
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        where = f" at character {error.offset}" if isinstance(error, SyntaxError) and error.offset else ""
        raise UsageError(f"the expression {text!r} is not valid{where}") from error
    compiler = _Compiler(text, threshold)
    try:
        node = compiler.node(tree.body)
    except RecursionError as error:
        raise UsageError(f"the expression {text[:60]!r}... is nested too deeply") from error
    return Expression(text, tuple(sorted(compiler.names)), node.step, node.kind)


class _CompiledNode(NamedTuple):
    """A compiled node: how to compute its value, and how to find its kind before there are events."""

    step: _Step
    kind: Callable[[KindOf], Kind]


class _Compiler:
    """Compiles a syntax tree to one closure per node; evaluation does not parse the text again."""

    def __init__(self, text: str, threshold: Threshold) -> None:
        self.text = text
        self.threshold = threshold
        self.names: set[str] = set()

    def node(self, node: ast.expr) -> _CompiledNode:
        """Compile one node."""
        match node:
            case ast.Constant(value=bool() | int() | float() as number):
                return _constant(number)
            case ast.Name(id=name):
                self.names.add(name)
                return _CompiledNode(lambda run: run.frame[name], lambda kind_of: kind_of(name))
            case ast.UnaryOp(op=ast.USub() | ast.UAdd() | ast.Not() as op, operand=operand):
                function = {ast.USub: np.negative, ast.UAdd: np.positive, ast.Not: np.logical_not}[type(op)]
                inner = self.node(operand)
                return _CompiledNode(
                    lambda run: run.arithmetic.mapped(self.text, function, inner.step(run)),
                    self._elementwise(node, function, [inner]),
                )
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                first, second, arithmetic = self.node(left), self.node(right), _ARITHMETIC[type(op)]
                return _CompiledNode(
                    lambda run: run.arithmetic.mapped(
                        self.text, arithmetic, first.step(run), second.step(run)
                    ),
                    self._elementwise(node, arithmetic, [first, second]),
                )
            case ast.BoolOp(op=op, values=values):
                parts = [self.node(value) for value in values]
                return self._joined(node, np.logical_and if isinstance(op, ast.And) else np.logical_or, parts)
            case ast.Compare():
                return self._comparison(node)
            case ast.Call(func=ast.Name(id="threshold"), args=arguments, keywords=[]):
                return self._threshold(node, arguments)
            case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
                return self._call(node, name, arguments)
        raise self._wrong(node, f"{ast.unparse(node)!r} is not supported")

    def _elementwise(
        self, node: ast.expr, function: Callable[..., Any], parts: Sequence[_CompiledNode]
    ) -> Callable[[KindOf], Kind]:
        def kind(kind_of: KindOf) -> Kind:
            kinds = [part.kind(kind_of) for part in parts]
            try:
                return joined(function, kinds)
            except ValueError as error:
                raise self._wrong(node, f"{ast.unparse(node)!r} cannot be computed: {error}") from error

        return kind

    def _joined(
        self, node: ast.expr, function: Callable[..., Any], parts: list[_CompiledNode]
    ) -> _CompiledNode:
        def run_all(run: _Run) -> Value:
            value = parts[0].step(run)
            for part in parts[1:]:
                value = run.arithmetic.mapped(self.text, function, value, part.step(run))
            return value

        return _CompiledNode(
            run_all,
            self._elementwise(
                node, lambda *values: np.logical_and.reduce(np.broadcast_arrays(*values)), parts
            ),
        )

    def _comparison(self, node: ast.Compare) -> _CompiledNode:
        if any(type(op) not in _COMPARISONS for op in node.ops):
            raise self._wrong(node, f"{ast.unparse(node)!r} uses another comparison than < <= > >= == !=")
        operands = [self.node(value) for value in (node.left, *node.comparators)]
        steps = [operand.step for operand in operands]
        functions = [_COMPARISONS[type(op)] for op in node.ops]

        def compare(run: _Run) -> Value:
            values = [step(run) for step in steps]
            for value in values:
                bad = run.arithmetic.nan_events(value)
                if bad is not None:
                    run.undecided = bad if run.undecided is None else run.undecided | bad
            result = run.arithmetic.mapped(self.text, functions[0], values[0], values[1])
            for function, left, right in zip(functions[1:], values[1:], values[2:], strict=False):
                result = run.arithmetic.mapped(
                    self.text, np.logical_and, result, run.arithmetic.mapped(self.text, function, left, right)
                )
            return result

        return _CompiledNode(
            compare, self._elementwise(node, lambda first, *_: np.equal(first, first), operands)
        )

    def _threshold(self, node: ast.expr, arguments: list[ast.expr]) -> _CompiledNode:
        names = [a.value for a in arguments if isinstance(a, ast.Constant) and isinstance(a.value, str)]
        if len(names) != len(arguments) or not 1 <= len(names) <= 2:
            raise self._wrong(
                node,
                "threshold takes a name in quotes, or a stage and its working point: threshold('anomaly', 'tight')",
            )
        try:
            number = np.float64(
                self.threshold(*names)
            )  # float64 is not a weak type for numpy: scores are compared in double precision
        except UsageError as error:
            raise self._wrong(node, str(error)) from error
        return _constant(number)

    def _call(self, node: ast.Call, name: str, arguments: list[ast.expr]) -> _CompiledNode:
        known = {
            **{key: count for key, (count, _) in _ELEMENTWISE.items()},
            **dict.fromkeys(LIST_REDUCTIONS, 1),
            "at": 3,
        }
        if name not in known:
            raise self._wrong(
                node,
                f"there is no function {name!r}; {did_you_mean(name, sorted([*known, 'threshold']))}".rstrip(
                    "; "
                ),
            )
        if len(arguments) != known[name]:
            arguments_of = " (the list, the index from 0, the default)" if name == "at" else ""
            raise self._wrong(
                node, f"{name} takes {known[name]} arguments{arguments_of}, not {len(arguments)}"
            )
        parts = [self.node(argument) for argument in arguments]
        steps = [part.step for part in parts]
        if name in _ELEMENTWISE:
            function = _ELEMENTWISE[name][1]
            return _CompiledNode(
                lambda run: run.arithmetic.mapped(self.text, function, *(step(run) for step in steps)),
                self._elementwise(node, function, parts),
            )
        if name == "at":
            index = arguments[1]
            if not (isinstance(index, ast.Constant) and type(index.value) is int):
                raise self._wrong(node, "the index of at(LIST, INDEX, DEFAULT) must be an integer from 0")
            return _CompiledNode(
                lambda run: element(self.text, *(step(run) for step in steps)),
                self._per_event(node, name, parts),
            )
        reduction = LIST_REDUCTIONS[name]
        return _CompiledNode(
            lambda run: run.arithmetic.reduced(self.text, name, reduction, steps[0](run)),
            self._per_event(node, name, parts),
        )

    def _per_event(
        self, node: ast.expr, name: str, parts: Sequence[_CompiledNode]
    ) -> Callable[[KindOf], Kind]:
        """Return the kind of a function that takes a list per event and returns one value."""

        def kind(kind_of: KindOf) -> Kind:
            value, *others = (part.kind(kind_of) for part in parts)
            if value.is_list is False:
                raise self._wrong(node, f"{name}(...) takes a list per event, not one value")
            if any(other.is_list for other in others):
                raise self._wrong(node, f"the default of {name}(...) must be one value, not a list")
            if value.sample is None or any(other.sample is None for other in others):
                return Kind(False)
            one = Jagged(np.array([0, 1]), np.atleast_1d(value.sample))
            if name == "at":
                return Kind(False, None, element(self.text, one, 0, others[-1].sample))
            return Kind(False, None, LIST_REDUCTIONS[name](one))

        return kind

    def _wrong(self, node: ast.expr, problem: str) -> UsageError:
        return UsageError(f"the expression {self.text!r}, character {node.col_offset + 1}: {problem}")


def _constant(number: Any) -> _CompiledNode:
    return _CompiledNode(lambda _: number, lambda _: Kind(False, None, number))


@dataclass(frozen=True)
class Cut:
    """A comparison of a quantity with a named threshold."""

    value: str
    names: tuple[str, ...]
    inclusive: bool

    def renamed(self, point: str) -> str:
        """Return the same cut at another working point."""
        quoted = ", ".join(map(repr, (*self.names[:-1], point)))
        return f"{self.value} {'>=' if self.inclusive else '>'} threshold({quoted})"


def find_cut(text: str) -> Cut | None:
    """Return an expression as a cut, or None if it is not one."""
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    match tree:
        case ast.Compare(
            left=left,
            ops=[ast.Gt() | ast.GtE() as op],
            comparators=[ast.Call(func=ast.Name(id="threshold"), args=arguments)],
        ):
            names = tuple(
                a.value for a in arguments if isinstance(a, ast.Constant) and isinstance(a.value, str)
            )
            return Cut(ast.unparse(left), names, isinstance(op, ast.GtE))
    return None
