"""A design that shares its multipliers: an event every N cycles instead of every cycle, weights in memories."""

from tamis.firmware.folded.fold import make_folded_design

__all__ = ["make_folded_design"]
