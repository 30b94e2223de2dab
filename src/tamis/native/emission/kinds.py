"""All kinds of statements: importing this module registers their emission."""

from tamis.native.emission import contraction, elementwise, product, selection, table, tiled
from tamis.native.emission.statement import emit_statement

__all__ = ["contraction", "elementwise", "emit_statement", "product", "selection", "table", "tiled"]
