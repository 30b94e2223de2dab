"""Build hook: says that Python is too old before pip looks for dependencies, which then fails with the name of one of them."""

from __future__ import annotations

import sys
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PythonVersionHook(BuildHookInterface):
    """Ends the build on a Python that tamis does not support."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Check the version of Python; pip builds a package first of all, to know its dependencies."""
        del version, build_data
        if sys.version_info < (3, 11):  # noqa: UP036 - this file runs on the Python that pip belongs to
            sys.exit(
                f"tamis needs Python 3.11 or later, this is {sys.version.split()[0]}: use another, "
                "or get one with `uv python install 3.12` (docs/install.md)"
            )
