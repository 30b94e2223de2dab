"""What a hardware description language has to offer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tamis.firmware.chain import LayerChain
from tamis.firmware.lower import Logic

Sources = dict[str, str]  # text by file name


@dataclass(frozen=True)
class Language:
    """Writes designs in one language."""

    name: str
    title: str
    suffix: str
    layer_sources: Callable[[Logic, Any, str], Sources]  # of a layer's pipeline, given the name of its module
    top_source: Callable[[LayerChain], str]
    complete: Callable[[Sources], Sources]  # with what the sources instantiate


def cells_of_alkaid(language: str, suffix: str) -> Sources:
    """Return what alkaid's code instantiates: adders, multiplexers, negation."""
    import alkaid.codegen.rtl as rtl

    folder = Path(rtl.__file__).parent / language / "source"
    return {path.name: path.read_text() for path in sorted(folder.glob(f"*{suffix}"))}
