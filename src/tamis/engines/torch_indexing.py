"""Indexing operators in torch: gather, scatter, triangles, one-hot, depth to space, cumulative sums."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

Fn = Callable[..., Any]
SCATTER_REDUCTIONS = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def _gather(node: Any) -> Fn:
    axis = node.get("axis", 0)

    def run(x: Any, index: Any) -> Any:
        where = axis % x.dim()
        flat = torch.where(index < 0, index + x.shape[where], index).reshape(-1).to(torch.int64)
        taken = torch.index_select(x, where, flat)
        return taken.reshape((*x.shape[:where], *index.shape, *x.shape[where + 1 :]))

    return run


def _nonnegative(x: Any, axis: int, index: Any) -> Any:
    return torch.where(index < 0, index + x.shape[axis], index).to(torch.int64)


def _gather_elements(node: Any) -> Fn:
    axis = node.get("axis", 0)
    return lambda x, index: torch.gather(x, axis, _nonnegative(x, axis, index))


def _gather_nd(node: Any) -> Fn:
    batch = node.get("batch_dims", 0)

    def run(x: Any, index: Any) -> Any:
        batch_indices = []
        for axis in range(batch):  # batch dimensions index themselves
            shape = [1] * (index.dim() - 1)
            shape[axis] = x.shape[axis]
            batch_indices.append(torch.arange(x.shape[axis]).reshape(shape))
        return x[(*batch_indices, *torch.movedim(index, -1, 0).unbind(0))]

    return run


def _scatter_elements(node: Any) -> Fn:
    axis, reduction = node.get("axis", 0), node.get("reduction", "none")
    if reduction == "none":
        return lambda x, index, updates: torch.scatter(x, axis, _nonnegative(x, axis, index), updates)
    kind = SCATTER_REDUCTIONS[reduction]
    return lambda x, index, updates: torch.scatter_reduce(
        x, axis, _nonnegative(x, axis, index), updates, kind
    )


def _scatter_nd(node: Any) -> Fn:
    if node.get("reduction", "none") != "none":
        raise node.unsupported(f"the reduction {node.get('reduction')}")

    def run(x: Any, index: Any, updates: Any) -> Any:
        return torch.index_put(x, tuple(torch.movedim(index, -1, 0).unbind(0)), updates)

    return run


def _trilu(node: Any) -> Fn:
    function = torch.triu if node.get("upper", 1) else torch.tril
    return lambda x, k=None: function(x, 0 if k is None else int(k))


def _one_hot(node: Any) -> Fn:
    axis = node.get("axis", -1)

    def run(index: Any, depth: Any, values: Any) -> Any:
        size = int(depth.reshape(-1)[0])
        where = axis % (index.dim() + 1)
        places = torch.arange(size).reshape(*[1] * where, size, *[1] * (index.dim() - where))
        hit = torch.remainder(index.to(torch.int64), size).unsqueeze(where) == places
        inside = ((index >= -size) & (index < size)).unsqueeze(where)
        return torch.where(hit & inside, values[1], values[0])

    return run


def _eye_like(node: Any) -> Fn:
    k = node.get("k", 0)
    if node.get("dtype") is not None:
        raise node.unsupported("dtype")
    return lambda x: torch.diag(torch.ones(x.shape[0] + x.shape[1] + abs(k), dtype=x.dtype), k)[
        : x.shape[0], : x.shape[1]
    ]


def _depth_to_space(node: Any) -> Fn:
    size, mode = node.get("blocksize"), node.get("mode", "DCR")

    def run(x: Any) -> Any:
        n, c, h, w = x.shape
        part = c // size**2
        if mode == "CRD":
            x = x.reshape(n, part, size, size, h, w).permute(0, 1, 4, 2, 5, 3)
        else:
            x = x.reshape(n, size, size, part, h, w).permute(0, 3, 4, 1, 5, 2)
        return x.reshape(n, part, h * size, w * size)

    return run


def _space_to_depth(node: Any) -> Fn:
    size = node.get("blocksize")

    def run(x: Any) -> Any:
        n, c, h, w = x.shape
        x = x.reshape(n, c, h // size, size, w // size, size).permute(0, 3, 5, 1, 2, 4)
        return x.reshape(n, c * size**2, h // size, w // size)

    return run


def _cumsum(node: Any) -> Fn:
    exclusive, reverse = node.get("exclusive", 0), node.get("reverse", 0)

    def run(x: Any, axis: Any) -> Any:
        where = int(axis)
        x = torch.flip(x, [where]) if reverse else x
        total = torch.cumsum(x, where, dtype=x.dtype)
        total = total - x if exclusive else total
        return torch.flip(total, [where]) if reverse else total

    return run


INDEXING: dict[str, Callable[[Any], Fn]] = {
    "Gather": _gather,
    "GatherElements": _gather_elements,
    "GatherND": _gather_nd,
    "ScatterElements": _scatter_elements,
    "ScatterND": _scatter_nd,
    "Trilu": _trilu,
    "OneHot": _one_hot,
    "EyeLike": _eye_like,
    "DepthToSpace": _depth_to_space,
    "SpaceToDepth": _space_to_depth,
    "CumSum": _cumsum,
}
