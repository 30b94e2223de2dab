"""The wheel and the source distribution build, are valid for PyPI, and the wheel runs in an empty environment."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

pytestmark = pytest.mark.slow


def run(*command: str | Path, folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def distributions(tmp_path_factory) -> Path:
    """Build both from the files that git tracks, as from a fresh clone."""
    folder = tmp_path_factory.mktemp("distributions")
    source = folder / "source"
    source.mkdir()
    archive = folder / "source.tar"
    run("git", "archive", "--output", archive, "HEAD", folder=ROOT)
    with tarfile.open(archive) as tracked:
        tracked.extractall(source, filter="data")
    run(sys.executable, "-m", "build", "--outdir", folder / "dist", source, folder=folder)
    return folder / "dist"


def test_both_are_valid_for_pypi(distributions):
    files = sorted(distributions.iterdir())
    assert [file.name.split("-")[0] for file in files] == ["tamis", "tamis"]
    run(sys.executable, "-m", "twine", "check", "--strict", *files, folder=distributions)


def test_the_wheel_has_bundles_headers_menus_and_no_tests(distributions):
    names = zipfile.ZipFile(next(distributions.glob("*.whl"))).namelist()
    for needed in (
        "conv-vae.tamis/model.onnx",
        "call.c",
        "loop.c",
        "menus/hlt.yaml",
        "monitor/live/page/index.html",
        "monitor/live/page/trend.js",
        "page.html.j2",
        "py.typed",
    ):
        assert any(name.endswith(needed) for name in names), needed
    assert not [name for name in names if name.startswith("tests") or name.endswith(".pyc")]


def test_the_wheel_runs_in_an_empty_environment(distributions, tmp_path):
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    wheel = next(distributions.glob("*.whl"))
    run(python, "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", wheel, folder=tmp_path)
    command = tmp_path / "venv" / "bin" / "tamis"
    assert "tamis, version" in run(command, "--version", folder=tmp_path)
    said = run(command, "verify", "facile", "--engine", "onnxruntime", "--json", folder=tmp_path)
    assert [one["passed"] for one in json.loads(said)] == [True]
