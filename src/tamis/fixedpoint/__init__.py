"""Fixed-point numbers: formats as HLS defines them, and their exact arithmetic in integers."""

from tamis.fixedpoint.formats import OVERFLOWS, ROUNDINGS, FixedFormat

__all__ = ["OVERFLOWS", "ROUNDINGS", "FixedFormat"]
