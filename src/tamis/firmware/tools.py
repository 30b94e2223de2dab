"""Programs of other projects that firmware needs: where they are, and what they said when they failed."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tamis._base import MissingExtraError, ModelError


def tool(name: str, package: str, purpose: str) -> str:
    """Return the path of a program; where it is missing, the error names the package that installs it."""
    found = shutil.which(name)
    if found is None:
        raise MissingExtraError(
            f"{name}, which is needed to {purpose}, is not installed: apt-get install {package}"
        )
    return found


def run_tool(command: list[str], folder: Path) -> str:
    """Run a program in a folder and return what it printed; a failure raises ModelError with its first error."""
    environment = {name: value for name, value in os.environ.items() if name != "VERILATOR_ROOT"}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        first = next((line for line in lines if "rror" in line), lines[0] if lines else "no message")
        raise ModelError(
            f"{Path(command[0]).name} failed with exit code {done.returncode}: {first.strip()[:300]}"
        )
    return done.stdout
