"""An environment of one's own beside a read-only view of libraries, as sites put into PYTHONPATH."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VIEW = ("pydantic==1.10.13", "rich==12.6.0", "simpy==4.1.1")  # the first two are too old for tamis
pytestmark = pytest.mark.slow


def run(*command: str | Path, code: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {
        name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")
    }
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=600, check=False, env={**environment, **variables}
    )
    assert done.returncode == code, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def view(tmp_path_factory) -> Path:
    """Make a view of old libraries that cannot be written."""
    folder = tmp_path_factory.mktemp("view") / "site-packages"
    run(
        sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--only-binary=:all:", "--target", folder, *VIEW
    )  # fmt: skip
    for path in (folder, *folder.rglob("*")):
        path.chmod(path.stat().st_mode & ~0o222)
    return folder


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Path:
    """Install tamis as the page says: the view's Python, without its libraries; return the folder of the commands."""
    folder = tmp_path_factory.mktemp("own") / "tamis-env"
    run(sys.executable, "-m", "venv", folder)
    run(folder / "bin" / "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", ROOT)
    return folder / "bin"


def test_own_environment_works_without_the_view(own):
    diagnosis = json.loads(run(own / "tamis", "doctor", "--json").stdout)
    assert diagnosis["usable"]
    assert "passed" in run(own / "tamis", "verify", "facile", "--engine", "onnxruntime", "--json").stdout


def test_old_libraries_in_pythonpath_are_named_with_the_remedy(own, view):
    done = run(own / "tamis", "doctor", code=1, PYTHONPATH=str(view))
    assert "version 1.10.13 is installed" in done.stdout
    assert "from PYTHONPATH" in " ".join(done.stdout.split())
    assert "unset PYTHONPATH" in done.stdout
    assert "this installation cannot be used: pydantic, rich" in done.stderr
    failed = run(own / "tamis", "verify", "facile", code=3, PYTHONPATH=str(view))
    assert "pydantic: version 1.10.13 is installed, >=2.9 is needed" in failed.stderr
    assert "`tamis doctor`" in failed.stderr


def test_view_behind_the_own_libraries_lends_what_is_missing(own, view):
    packages = next((own.parent / "lib").glob("python3.*")) / "site-packages"
    (packages / "view.pth").write_text(f"{view}\n")
    try:
        diagnosis = json.loads(run(own / "tamis", "doctor", "--json").stdout)
        assert diagnosis["usable"]
        farm = next(one for one in diagnosis["findings"] if one["name"] == "farm")
        assert "hpack" in farm["found"]
        assert "simpy" not in farm["found"], "the view has it"
        code = "import pydantic, simpy; print(pydantic.VERSION, simpy.__version__)"
        own_pydantic, lent = run(own / "python", "-c", code).stdout.split()
        assert own_pydantic.startswith("2.")
        assert lent == "4.1.1"
    finally:
        (packages / "view.pth").unlink()
