"""From the graph of one event to statements over buffers."""

from tamis.native.lowering.lower import lower

__all__ = ["lower"]
