"""The supported operating system and versions of Python."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("platform", ["win32", "darwin"])
@pytest.mark.parametrize("statement", ["import tamis", "from tamis.cli import main"])
def test_importing_tamis_elsewhere_than_on_linux_fails_with_one_sentence(platform, statement):
    code = f"import sys; sys.platform = {platform!r}; {statement}"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert finished.returncode == 1
    last = finished.stderr.strip().splitlines()[-1]
    assert last.startswith(f"ImportError: tamis runs on Linux; on {platform} use a Linux container")


def test_importing_tamis_with_an_old_python_fails_with_one_sentence():
    code = (
        "import sys; sys.version_info = (3, 10, 12, 'final', 0); sys.version = '3.10.12 (main)'; import tamis"
    )
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert finished.returncode == 1
    last = finished.stderr.strip().splitlines()[-1]
    assert last == "ImportError: tamis needs Python 3.11 or later, this is 3.10.12: see docs/install.md"
