"""What a bundle takes, gives and decides, as aligned lines that fit 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tamis.bundle import Bundle, Tensor

WIDTH = 80


def summary_lines(bundle: Bundle) -> list[str]:
    """Return inputs, outputs, score and working points."""
    manifest = bundle.manifest
    inputs = [
        (*_kind(spec), "; ".join(filter(None, (f"from {spec.feature}" if spec.feature else "", spec.units))))
        for spec in manifest.signature.inputs
    ]
    outputs = [
        (*_kind(spec), "the score" if spec.name == manifest.score else spec.units)
        for spec in manifest.signature.outputs
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


def _kind(spec: Tensor) -> tuple[str, str, str]:
    return spec.name, spec.dtype, " x ".join(map(str, spec.shape)) or "scalar"


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
