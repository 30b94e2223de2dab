"""Stages of a trigger: expressions, models, tracks, and functions of the user."""

from tamis.trigger.stages.expression import Cut, Expression, find_cut, parse_expression, per_event
from tamis.trigger.stages.models import model_stages
from tamis.trigger.stages.python import python_stage
from tamis.trigger.stages.simple import define_stage, keep_stage
from tamis.trigger.stages.stage import Added, Stage, UserStage, stage, user_stage
from tamis.trigger.stages.tracks import TrackChoice, tracks_stage

__all__ = [
    "Added",
    "Cut",
    "Expression",
    "Stage",
    "TrackChoice",
    "UserStage",
    "define_stage",
    "find_cut",
    "keep_stage",
    "model_stages",
    "parse_expression",
    "per_event",
    "python_stage",
    "stage",
    "tracks_stage",
    "user_stage",
]
