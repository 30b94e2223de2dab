"""All kinds of statements: importing this module registers their emission."""

from tamis.native.emission import both, contraction, elementwise, product, selection, tiled
from tamis.native.emission.statement import emit_statement

__all__ = ["both", "contraction", "elementwise", "emit_statement", "product", "selection", "tiled"]
