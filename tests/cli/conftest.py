"""Commands as a user calls them."""

from __future__ import annotations

import pytest

from tamis.cli.app import _run


@pytest.fixture
def call(capfd):
    """Run a command in this process; return its exit code, standard output and standard error."""

    def run(*arguments):
        code = _run([str(a) for a in arguments])
        told = capfd.readouterr()
        assert "Traceback" not in told.err
        return code, told.out, told.err

    return run
