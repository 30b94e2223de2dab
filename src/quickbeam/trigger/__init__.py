"""The way from events to decisions: menus, their runs, and plain scoring."""

from quickbeam.trigger.menu import (
    Menu,
    MenuSource,
    PathSpec,
    Source,
    StageSpec,
    StreamSpec,
    compile_menu,
    load_menu,
    menu_of,
    menu_schema,
)
from quickbeam.trigger.run import (
    ConservationError,
    RunSummary,
    account,
    beside,
    process_start_ns,
    run_menu,
)
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
from quickbeam.trigger.stages import UserStage, stage

__all__ = [
    "FEATURES",
    "JET_BASELINES",
    "LEADING_JETS",
    "ConservationError",
    "Menu",
    "MenuSource",
    "PathSpec",
    "RunSummary",
    "Scored",
    "ScoringFacts",
    "Source",
    "StageSpec",
    "StreamSpec",
    "UserStage",
    "account",
    "beside",
    "compile_menu",
    "inputs_of_events",
    "load_menu",
    "menu_of",
    "menu_schema",
    "process_start_ns",
    "run_menu",
    "score_batch",
    "score_events",
    "score_files",
    "stage",
]
