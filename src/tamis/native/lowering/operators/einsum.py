"""Einsum: operands are joined pair by pair, each pair by a product of matrices."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from tamis.native.expression import Expression, Load
from tamis.native.graph import Node
from tamis.native.lowering.context import Context, unsupported
from tamis.native.lowering.operators.reduction import reduce
from tamis.native.lowering.operators.unfolding import products
from tamis.native.lowering.rule import rule
from tamis.native.view import View

ELLIPSIS = "..."


@dataclass(frozen=True)
class _Operand:
    """A value whose axes have labels."""

    value: Expression
    labels: tuple[str, ...]

    def size(self, label: str) -> int:
        """Return the size of an axis."""
        return self.value.shape[self.labels.index(label)] if label in self.labels else 1


@rule("Einsum")
def _einsum(context: Context, node: Node) -> None:
    equation = node.text("equation").replace(" ", "")
    left, arrow, right = equation.partition("->")
    terms = left.split(",")
    if len(terms) != len(node.inputs):
        raise unsupported(node, f"equation={equation!r} has {len(terms)} terms for {len(node.inputs)} inputs")
    operands = [_operand(context, node, name, term) for name, term in zip(node.inputs, terms, strict=True)]
    every = [label for operand in operands for label in operand.labels]
    dots = sorted({label for label in every if label.isdigit()}, key=int, reverse=True)
    if arrow:
        result_labels = _labels(right, len(dots))
    else:
        result_labels = (*dots, *sorted(one for one in set(every) - set(dots) if left.count(one) == 1))
    while len(operands) > 1:
        first, second, *rest = operands
        later = {label for one in rest for label in one.labels} | set(result_labels)
        operands = [_joined(context, first, second, later), *rest]
    summed = _summed(context, operands[0], set(result_labels))
    value = context.permute(summed.value, [summed.labels.index(label) for label in result_labels])
    context.define(node.outputs[0], context.broadcast(value, context.shape(node.outputs[0])))


def _labels(term: str, dots: int) -> tuple[str, ...]:
    """Return the label of each axis; those of the ellipsis are numbers, counted from the last."""
    before, mark, after = term.partition(ELLIPSIS)
    middle = tuple(str(number) for number in reversed(range(dots))) if mark else ()
    return (*before, *middle, *after)


def _operand(context: Context, node: Node, name: str, term: str) -> _Operand:
    value = context.value(name)
    labels = _labels(term, len(value.shape) - len(term.replace(ELLIPSIS, "")))
    if len(set(labels)) < len(labels):
        if len(labels) != len(value.shape):
            raise unsupported(node, f"its term {term!r} does not fit an input of {len(value.shape)} axes")
        view = value.view if isinstance(value, Load) else context.write(value)
        # axes of the same label become one, which moves along all of them: the diagonal
        places = {one: [at for at, label in enumerate(labels) if label == one] for one in labels}
        shape = tuple(view.shape[group[0]] for group in places.values())
        strides = tuple(sum(view.strides[place] for place in group) for group in places.values())
        return _Operand(Load(replace(view, shape=shape, strides=strides)), tuple(places))
    return _Operand(value, labels)


def _summed(context: Context, operand: _Operand, kept: set[str]) -> _Operand:
    """Sum over the axes whose label is not in `kept`."""
    reduced = [place for place, label in enumerate(operand.labels) if label not in kept]
    if not reduced:
        return operand
    value = reduce(context, "sum", operand.value, reduced, keep=False)
    return _Operand(value, tuple(label for label in operand.labels if label in kept))


def _joined(context: Context, first: _Operand, second: _Operand, later: set[str]) -> _Operand:
    """Multiply two operands; of the labels that both have, those needed later are batch axes, the others are summed over."""
    first = _summed(context, first, later | set(second.labels))
    second = _summed(context, second, later | set(first.labels))
    shared = [label for label in first.labels if label in second.labels]
    batch = [label for label in shared if label in later]
    summed = [label for label in shared if label not in later]
    own = [label for label in first.labels if label not in shared]
    other = [label for label in second.labels if label not in shared]
    size = {label: max(first.size(label), second.size(label)) for label in (*first.labels, *second.labels)}

    def flat(operand: _Operand, *groups: list[str]) -> View:
        order = [label for group in groups for label in group]
        value = context.permute(operand.value, [operand.labels.index(label) for label in order])
        value = context.broadcast(value, tuple(size[label] for label in order))
        value = context.reshape(value, tuple(prod(size[label] for label in group) for group in groups))
        return value.view if isinstance(value, Load) else context.write(value)

    rows, columns, matrices = (prod(size[label] for label in group) for group in (own, other, batch))
    out = context.scratch((matrices, rows, columns))
    products(context, flat(first, batch, own, summed), flat(second, batch, summed, other), out)
    labels = (*batch, *own, *other)
    return _Operand(context.reshape(Load(out), tuple(size[label] for label in labels)), labels)
