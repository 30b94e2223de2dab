"""Extension modules that do not compile."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest

from tamis.cbuild import find_compiler, load_module

pytestmark = pytest.mark.skipif(
    not (Path(sysconfig.get_path("include")) / "Python.h").is_file(), reason="needs Python's headers"
)


def test_compile_error_is_logged_once_with_its_cost(caplog):
    for _ in range(2):
        code = "int f(void) { return nothing_such; }"
        assert load_module(find_compiler(), "broken", code, fallback="calls are slower") is None
    (warning,) = caplog.messages
    assert "nothing_such" in warning
    assert warning.endswith("; calls are slower")
    assert "\n" not in warning
