"""A design that shares its multipliers: an event every N cycles instead of every cycle, weights in memories."""

from tamis.firmware.folded.fold import StepsInTurn, make_folded_design, steps_in_turn

__all__ = ["StepsInTurn", "make_folded_design", "steps_in_turn"]
