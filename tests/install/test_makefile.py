"""`make demo` and `make test` say that Python is too old or missing before pip fails, and leave nothing behind."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture
def checkout(tmp_path) -> Path:
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def make(folder: Path, target: str, python: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "-C", folder, target, f"PYTHON={python}"], capture_output=True, text=True, check=False
    )


def python_that_says(folder: Path, version: str, then: str = "exit 0") -> str:
    """Write a Python that tells a version, and records any other call."""
    file = folder / f"python-{version}"
    file.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo "Python {version}" && exit\necho "$@" >> called\n{then}\n'
    )
    file.chmod(0o755)
    return f"./{file.name}"


@pytest.mark.parametrize("target", ["demo", "test"])
@pytest.mark.parametrize("version", ["2.7.18", "3.9.18", "3.10.12", "3.1.4"])
def test_old_python_is_reported_before_pip_runs(checkout, target, version):
    done = make(checkout, target, python_that_says(checkout, version))
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if not line.startswith("make")]
    assert len(said) == 1
    assert f"needs Python 3.11 or later, but ./python-{version} --version says 'Python {version}'" in said[0]
    assert "make demo PYTHON=python3.12" in said[0]
    assert not (checkout / "called").exists()
    assert not (checkout / ".venv").exists()


def test_missing_python_is_reported(checkout):
    done = make(checkout, "demo", "python-of-nobody")
    assert done.returncode != 0
    assert "needs Python 3.11 or later, but python-of-nobody --version says" in done.stderr
    assert "not found" in done.stderr


@pytest.mark.parametrize("version", ["3.11.2", "3.13.0", "3.20.1"])
def test_supported_python_makes_the_environment(checkout, version):
    make(checkout, "demo", python_that_says(checkout, version))
    assert (checkout / "called").read_text().splitlines()[0] == "-m venv .venv"


def test_environment_that_could_not_be_made_is_removed(checkout):
    """Debian's Python without python3-venv leaves a half of one, with which the next `make` would go on."""
    done = make(
        checkout,
        "demo",
        python_that_says(checkout, "3.11.2", "mkdir -p .venv/bin && touch .venv/bin/python && exit 1"),
    )
    assert done.returncode != 0
    assert not (checkout / ".venv").exists()
