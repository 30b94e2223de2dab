"""The dispatch from a statement to the function that writes its C; each kind registers its own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import singledispatch

from tamis.native.emission.blob import Blob
from tamis.native.emission.mode import Mode
from tamis.native.emission.writer import Writer


@dataclass(frozen=True)
class Emission:
    """Where a statement is written to: the lines and constants so far, the kernel, and whether a loop with the counter t is around."""

    writer: Writer
    mode: Mode
    blob: Blob
    turns: bool = False


@singledispatch
def emit_statement(statement: object, emission: Emission) -> None:
    """Write the C of a statement."""
    kernel = "wide" if emission.mode.wide else "narrow"
    raise TypeError(f"no emission to a {kernel} kernel is registered for {type(statement).__name__}")
