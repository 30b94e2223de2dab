"""The menu: read, checked, and made into a program."""

from tamis.trigger.menu.compile import Compiled, MenuSource, compile_menu, load_menu, menu_of
from tamis.trigger.menu.documents import (
    HistogramSpec,
    Menu,
    PathSpec,
    Source,
    StageSpec,
    StreamSpec,
    menu_schema,
    told_ns,
)
from tamis.trigger.menu.program import Condition, Operation, Program

__all__ = [
    "Compiled",
    "Condition",
    "HistogramSpec",
    "Menu",
    "MenuSource",
    "Operation",
    "PathSpec",
    "Program",
    "Source",
    "StageSpec",
    "StreamSpec",
    "compile_menu",
    "load_menu",
    "menu_of",
    "menu_schema",
    "told_ns",
]
