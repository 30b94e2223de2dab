"""The command line: one file per command; parse, call, print."""

import sys

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit, with one sentence if even the libraries behind its messages are missing."""
    try:
        from tamis.cli import app
    except ImportError as error:
        sys.exit(
            f"tamis: a library that every command needs cannot be imported: {error}; "
            f"install tamis again: {sys.executable} -m pip install --force-reinstall tamis"
        )
    app.main(arguments)
