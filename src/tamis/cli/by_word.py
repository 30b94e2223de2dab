"""Commands of which some words have options of their own."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, ClassVar

import click


class ByWord(click.Command):
    """Hands over to another command if one of its words is the first argument, such as `tracks` of `tamis simulate tracks`."""

    modules: ClassVar[
        Mapping[str, str]
    ] = {}  # of tamis.cli, by word; module:name where the command has another name

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Return the context of the word's command, or the own one."""
        for place, word in enumerate(args):
            if word in self.modules and (place == 0 or not args[place - 1].startswith("-")):
                module, _, name = self.modules[word].partition(":")
                found = importlib.import_module(f"tamis.cli.{module}")
                command: click.Command = getattr(found, name or "command")
                rest = args[:place] + args[place + 1 :]
                return command.make_context(f"{info_name} {word}", rest, parent=parent, **extra)
        return super().make_context(info_name, args, parent=parent, **extra)
