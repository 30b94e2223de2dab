"""The rules of the house: sizes, public names, what an import pulls in."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "tamis"
FILES = sorted(SOURCE.rglob("*.py"))
FILE_LINES = 500
FUNCTION_LINES = 60
FORBIDDEN_NAMES = {"utils", "common", "helpers", "manager", "core", "misc"}
HEAVY = (
    "torch",
    "openvino",
    "pythia8mc",
    "fastjet",
    "matplotlib",
    "keras",
    "memray",
    "hist",
    "mplhep",
    "onnxruntime",
    "uproot",
    "awkward",
    "pyarrow",
    "h5py",
    "distributed",
)
# What may import a heavy library when it is imported itself: adapters, and modules that only lazy code reaches.
ADAPTERS = {
    "onnxruntime": {"engines/onnxruntime.py"},
    "torch": {"engines/torch_*.py", "zoo/networks/*.py", "zoo/training/*.py"},
    "awkward": {"events/*.py", "features/jets.py", "simulate/*.py", "trigger/run/*.py"},
    "uproot": {"events/*root*.py", "events/ttree.py"},
    "pyarrow": {"events/arrow.py", "events/parquet.py", "trigger/run/*.py", "trigger/scored_files.py"},
    "h5py": {"events/hdf5.py"},
}
PACKAGES = [
    "tamis",
    *(f"tamis.{d.name}" for d in sorted(SOURCE.iterdir()) if (d / "__init__.py").is_file()),
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_file_is_about_one_thing(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= FILE_LINES
    assert not FORBIDDEN_NAMES & {path.stem, *path.relative_to(SOURCE).parts}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= FUNCTION_LINES, f"{node.name} has {length} lines"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_heavy_libraries_stay_in_their_adapters(path: Path) -> None:
    place = path.relative_to(SOURCE)
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            imported = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            imported = [node.module or ""]
        else:
            continue
        for library in {name.split(".")[0] for name in imported} & set(HEAVY):
            assert any(place.match(pattern) for pattern in ADAPTERS.get(library, ())), f"imports {library}"


@pytest.mark.parametrize("name", PACKAGES)
def test_all_names_what_is_there(name: str) -> None:
    module = importlib.import_module(name)
    names = list(module.__all__)
    assert names == sorted(set(names), key=lambda n: (not n.isupper(), not n[0].isupper(), n))
    for public in names:
        assert getattr(module, public) is not None
    there = {
        key
        for key, value in vars(module).items()
        if not key.startswith("_") and str(getattr(value, "__module__", "")).startswith("tamis")
    }
    assert not there - set(names), "public, but not in __all__"


def test_import_tamis_pulls_in_no_heavy_library() -> None:
    code = "import sys, tamis; print(' '.join(m for m in sys.modules))"
    loaded = set(
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
    )
    assert not loaded & set(HEAVY)


def test_the_command_line_starts_without_heavy_libraries() -> None:
    code = "import sys; from tamis.cli.app import app; print(' '.join(m for m in sys.modules))"
    loaded = set(
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.split()
    )
    assert not loaded & set(HEAVY)


def test_the_exception_tree_is_drawn_as_it_is() -> None:
    errors = importlib.import_module("tamis._base.errors")
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.TamisError)]
    assert errors.__doc__
    for kind in classes:
        line = next(row for row in errors.__doc__.splitlines() if kind.__name__ in row)
        if kind.exit_code != kind.__mro__[1].__dict__.get("exit_code", None):
            assert str(kind.exit_code) in line
