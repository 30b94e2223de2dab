"""From the graph of one event to statements over buffers."""

from quickbeam.native.lowering.lower import lower

__all__ = ["lower"]
