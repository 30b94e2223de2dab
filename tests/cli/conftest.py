"""Run commands in the test process."""

from __future__ import annotations

import pytest

from tamis.cli.app import _run


@pytest.fixture
def call(capfd):
    """Return a function that runs a command in this process and returns exit code, standard output and standard error."""

    def run(*arguments):
        code = _run([str(a) for a in arguments])
        captured = capfd.readouterr()
        assert "Traceback" not in captured.err
        return code, captured.out, captured.err

    return run
