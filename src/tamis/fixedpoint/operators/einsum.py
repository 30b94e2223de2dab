"""Einsum of a computed tensor and a constant one, as HGQ2's QEinsumDense has it: one product with a matrix for every group."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tamis.fixedpoint.operators.operands import Inexact, Operands, finite


def _einsum(operands: Operands) -> list[int]:
    equation = operands.attributes["equation"].decode().replace(" ", "")
    terms, arrow, result = equation.partition("->")
    names = terms.split(",")
    computed = [place for place, value in enumerate(operands.values) if value is not None]
    if len(names) != 2 or not arrow or "." in equation or len(computed) != 1:
        raise Inexact(f"the equation {equation!r} is not that of a computed tensor and a constant one")
    batched, constant = names[computed[0]], names[1 - computed[0]]
    batch, inner = batched[0], batched[1:]
    if batch in constant or result[:1] != batch or any(len(set(one)) < len(one) for one in names):
        raise Inexact(f"the equation {equation!r} joins or repeats axes of the events")
    array = finite(operands.constant(1 - computed[0], "the constant"))
    value, outer = operands.value(computed[0]), result[1:]
    places = operands.places(value)
    shared = [label for label in inner if label in constant and label in outer]
    free = [label for label in inner if label not in constant and label in outer]
    summed = [label for label in inner if label not in outer]
    made = [label for label in constant if label not in inner and label in outer]
    sizes = dict(zip(inner, places.shape, strict=True)) | dict(zip(constant, array.shape, strict=True))
    ordered = places.transpose([inner.index(label) for label in [*shared, *free, *summed]])
    ordered = ordered.reshape(-1, *(sizes[label] for label in free), _size(sizes, summed))
    both = [label for label in summed if label in constant]
    matrices = np.einsum(f"{constant}->{''.join([*shared, *both, *made])}", array)
    matrices = matrices.reshape(
        -1, *(sizes[label] if label in both else 1 for label in summed), _size(sizes, made)
    )
    matrices = np.broadcast_to(
        matrices, (len(matrices), *(sizes[label] for label in summed), matrices.shape[-1])
    )
    matrices = matrices.reshape(len(matrices), -1, matrices.shape[-1])
    parts = [
        operands.linear(operands.take([value], group), matrix)
        for group, matrix in zip(ordered, matrices, strict=True)
    ]
    labels = [*shared, *free, *made]
    order = np.arange(_size(sizes, labels)).reshape([sizes[label] for label in labels])
    return [operands.take(parts, order.transpose([labels.index(label) for label in outer]))]


def _size(sizes: dict[str, int], labels: list[str]) -> int:
    return int(np.prod([sizes[label] for label in labels], dtype=np.int64))


EINSUM_OPERATORS: dict[str, Callable[[Operands], list[int]]] = {"Einsum": _einsum}
