"""Read and check a menu, and compile it to a program."""

from tamis.trigger.menu.compile import CompiledMenu, MenuSource, compile_menu, load_menu, menu_of
from tamis.trigger.menu.documents import (
    Hardware,
    HistogramSpec,
    Menu,
    PathSpec,
    Source,
    StageSpec,
    StreamSpec,
    TrackingSpec,
    format_ns,
    menu_schema,
)
from tamis.trigger.menu.program import Condition, MenuProgram, Operation

__all__ = [
    "CompiledMenu",
    "Condition",
    "Hardware",
    "HistogramSpec",
    "Menu",
    "MenuProgram",
    "MenuSource",
    "Operation",
    "PathSpec",
    "Source",
    "StageSpec",
    "StreamSpec",
    "TrackingSpec",
    "compile_menu",
    "format_ns",
    "load_menu",
    "menu_of",
    "menu_schema",
]
