"""Every bash and Python block of the README and the docs runs, page by page, in an empty folder."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
SLOW = {  # pages that train, tune or load a server: more than five seconds
    "choose-an-engine", "compress-a-model", "coprocessor-models", "image-taggers", "size-a-farm", "topology-classifier", "train-a-detector", "measure",
    "jet-tagger", "level-1-menu", "make-firmware", "place-stages", "export-to-hls4ml", "use-in-coffea", "use-in-uproot", "reconstruct-tracks",
    "track-on-a-gpu", "run-a-menu", "monitor", "use-in-cpp",
}  # fmt: skip
NIGHTLY = {"compress-a-model"}  # of these: more than four minutes
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[tuple[str, str]]:
    return BLOCK.findall(page.read_text(encoding="utf-8"))


WITH_CODE = [
    pytest.param(
        page,
        id=page.stem,
        marks=[
            *([pytest.mark.slow] if page.stem in SLOW else []),
            *([pytest.mark.nightly] if page.stem in NIGHTLY else []),
        ],
    )
    for page in PAGES
    if blocks(page)
]


@pytest.mark.parametrize("page", WITH_CODE)
def test_the_code_on_a_page_runs(page: Path, tmp_path: Path) -> None:
    for name in ("simulate",):
        if any(f"tamis {name}" in code or f"tamis.{name}" in code for _, code in blocks(page)):
            pytest.importorskip("pythia8mc")
    if any("from coffea" in code for _, code in blocks(page)):
        pytest.importorskip("coffea")
    if any("--to hls4ml" in code for _, code in blocks(page)):
        pytest.importorskip("hls4ml")
    if any("cmake -S" in code for _, code in blocks(page)) and shutil.which("cmake") is None:
        pytest.skip("needs cmake")
    if any("examples/" in code for _, code in blocks(page)):
        (tmp_path / "examples").symlink_to(ROOT / "examples")
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
    }
    python: list[str] = []
    for language, code in blocks(page):
        if language == "bash":
            assert_runs(["bash", "-euo", "pipefail", "-c", code], tmp_path, environment)
        else:
            python.append(code)  # later blocks continue where the earlier ones ended
            assert_runs([sys.executable, "-c", "\n".join(python)], tmp_path, environment)


def assert_runs(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    finished = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False
    )
    assert finished.returncode == 0, f"{command[-1]}\n{finished.stdout[-2000:]}\n{finished.stderr[-2000:]}"


def test_code_of_an_example_on_a_page_is_that_of_the_example() -> None:
    page = (ROOT / "docs" / "how-to" / "use-in-cpp.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```cpp\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert shown in (ROOT / "examples/cpp/cmssw/plugins/JetTagProducer.cc").read_text(encoding="utf-8")


def test_every_link_and_picture_exists() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"
