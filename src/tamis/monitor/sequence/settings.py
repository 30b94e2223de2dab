"""Tuned numbers of the recurrent monitors."""

from __future__ import annotations

CONDITIONS = 2  # of a step: the pile-up and the luminosity
CLIP = 5.0  # of what a cell reads, in units of the scatter of steps: a fault cannot fill its memory
REFERENCE_RATE = 1 / 60  # of the running mean, per step: about a block
