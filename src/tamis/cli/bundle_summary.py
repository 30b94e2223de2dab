"""What a bundle takes, gives and decides, as aligned lines that fit 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tamis.bundle import Bundle, Signature, Tensor

WIDTH = 80


def summary_lines(bundle: Bundle) -> list[str]:
    """Return inputs, outputs, score and working points."""
    manifest = bundle.manifest
    signature = manifest.signature
    inputs = [
        (
            *_kind(signature, spec),
            "; ".join(
                filter(
                    None, (f"from {spec.feature}" * bool(spec.feature), ", ".join(spec.columns), spec.units)
                )
            ),
        )
        for spec in signature.inputs
    ]
    outputs = [
        (*_kind(signature, spec), "the score" if spec.name == manifest.score else spec.units)
        for spec in signature.outputs
    ]
    points = [
        (
            point.name,
            f"> {point.threshold:.6g}",
            ""
            if point.background_efficiency is None
            else f"accepts {100 * point.background_efficiency:.3g} %",
            f"of {point.background}" if point.background else "",
        )
        for point in manifest.working_points
    ]
    if manifest.score is None:
        points_title = "score: none"
    elif points:
        points_title = f"working points of {manifest.score}"
    else:
        points_title = "working points: none"
    return [
        f"{manifest.name}",
        *textwrap.wrap(manifest.description, WIDTH),
        *block("inputs", inputs),
        *block("outputs", outputs),
        *block(points_title, points),
    ]


def _kind(signature: Signature, spec: Tensor) -> tuple[str, str, str]:
    """Return name, type and shape; a free number of rows is N, however the graph calls it."""
    shape = ("N", *spec.shape[1:]) if signature.rows == "free" and spec.shape else spec.shape
    return spec.name, spec.dtype, " x ".join(map(str, shape)) or "scalar"


def block(title: str, rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a title and indented rows; the last column is wrapped under itself."""
    if not rows:
        return [title]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)][:-1]
    lines = [title]
    for row in rows:
        head = "  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)) + "  "
        room = max(WIDTH - len(head), 20)
        parts = textwrap.wrap(row[-1], room) or [""]
        lines.append((head + parts[0]).rstrip())
        lines += [" " * len(head) + part for part in parts[1:]]
    return lines
