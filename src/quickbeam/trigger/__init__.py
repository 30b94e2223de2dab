"""The way from events to decisions; for now, to scores."""

from quickbeam.trigger.score import (
    FEATURES,
    JET_BASELINES,
    LEADING_JETS,
    Scored,
    inputs_of_events,
    score_batch,
    score_events,
)
from quickbeam.trigger.scored_files import ScoringFacts, score_files

__all__ = [
    "FEATURES",
    "JET_BASELINES",
    "LEADING_JETS",
    "Scored",
    "ScoringFacts",
    "inputs_of_events",
    "score_batch",
    "score_events",
    "score_files",
]
