"""The command line: one file per command; parse, call, print."""

from quickbeam.cli.app import main

__all__ = ["main"]
