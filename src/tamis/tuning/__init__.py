"""Which engine a host should use for each batch size: measure the engines, choose, explain."""

from tamis.tuning.choice import choose_engines
from tamis.tuning.measurement import Tuning, measure_engines

__all__ = [
    "Tuning",
    "choose_engines",
    "measure_engines",
]
