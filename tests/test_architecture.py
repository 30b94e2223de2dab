"""The rules of architecture.md and style.md that a machine can check: sizes, names, imports, installation commands."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "tamis"
FILES = sorted(SOURCE.rglob("*.py"))
FILE_LINES = 500
FUNCTION_LINES = 80
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
    "numba",
)
# Modules that may import a heavy library at their top level: adapters, and modules that are themselves imported lazily.
ADAPTERS = {
    "onnxruntime": {"engines/onnxruntime.py"},
    "torch": {
        "engines/torch_*.py",
        "zoo/networks/*.py",
        "zoo/training/*.py",
        "compress/*.py",
        "compress/distillation/*.py",
        "compress/trees/*.py",
        "monitor/sequence/cells.py",
        "monitor/sequence/fit.py",
        "monitor/sequence/graph.py",
        "monitor/sequence/learn.py",
        "monitor/sequence/network.py",
        "monitor/sequence/student.py",
        "monitor/sequence/training.py",
    },
    "awkward": {
        "simulate/lar/single.py",
        "events/*.py",
        "features/jets.py",
        "simulate/*.py",
        "simulate/silicon/*.py",
        "monitor/*.py",
        "tracking/*.py",
        "trigger/run/*.py",
    },
    "uproot": {"events/*root*.py", "events/ttree.py"},
    "pyarrow": {
        "events/arrow.py",
        "monitor/feed.py",
        "events/parquet.py",
        "events/detector/acts_events.py",
        "trigger/run/*.py",
        "trigger/scored_files.py",
    },
    "h5py": {"events/hdf5.py"},
}
PACKAGES = [
    "tamis",
    *(f"tamis.{d.name}" for d in sorted(SOURCE.iterdir()) if (d / "__init__.py").is_file()),
]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# Files and folders whose `pip install` commands a reader may copy.
INSTALL_PLACES = (
    ".ci",
    "benchmarks",
    "docs",
    "src",
    "tests",
    "tools",
    "Containerfile",
    "Makefile",
    "mkdocs.yml",
    "pyproject.toml",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "README.md",
    "SECURITY.md",
)
# Third-party packages that are installed by hand, and why they are not among the extras.
INSTALLED_BY_HAND = {
    "adlfs": "Azure event files; one of fsspec's many file systems",
    "build": "building the wheel, by maintainers",
    "fsspec-xrootd": "XRootD event files; needs XRootD itself, which pip does not build",
    "gcsfs": "Google Cloud event files; one of fsspec's many file systems",
    "lightgbm": "training the models that tests import, and users' own",
    "nvidia-pytriton": "the Triton server's binary; its Python requirements conflict with ours",
    "pip": "upgrading pip itself",
    "s3fs": "S3 event files; one of fsspec's many file systems",
    "scikit-learn": "users' own models",
    "skl2onnx": "converting users' own scikit-learn models",
    "twine": "checking and uploading the wheel, by maintainers",
    "xgboost": "training the models that tests import, and users' own",
    "{one}": "one of pyproject.toml's, in `tamis doctor`",
    "{library}": "one of fsspec's file systems, from the table in events/failures.py",
}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_files_and_functions_stay_short(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= FILE_LINES
    assert not FORBIDDEN_NAMES & {path.stem, *path.relative_to(SOURCE).parts}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= FUNCTION_LINES, f"{node.name} has {length} lines"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_heavy_libraries_stay_in_their_adapters(path: Path) -> None:
    relative = path.relative_to(SOURCE)
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            imported = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            imported = [node.module or ""]
        else:
            continue
        for library in {name.split(".")[0] for name in imported} & set(HEAVY):
            assert any(relative.match(pattern) for pattern in ADAPTERS.get(library, ())), f"imports {library}"


def test_class_names_are_unique() -> None:
    modules = defaultdict(list)
    for path in FILES:
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef):
                modules[node.name].append(str(path.relative_to(SOURCE)))
    assert not {name: places for name, places in modules.items() if len(places) > 1}


def test_constants_of_one_name_have_one_value() -> None:
    values = defaultdict(lambda: defaultdict(list))
    for path in FILES:
        for name, value in constants(ast.parse(path.read_text(encoding="utf-8"))):
            values[name][value].append(str(path.relative_to(SOURCE)))
    assert not {name: dict(found) for name, found in values.items() if len(found) > 1}


def constants(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield the name and the value of every module-level constant; the value as normalised source text."""
    for node in tree.body:
        if isinstance(node, ast.Assign):
            targets, value = node.targets, node.value
        elif isinstance(node, ast.AnnAssign) and node.value is not None:
            targets, value = [node.target], node.value
        else:
            continue
        for target in targets:
            pairs = [(target, value)]
            if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                pairs = list(zip(target.elts, value.elts, strict=True))
            for name, part in pairs:
                if isinstance(name, ast.Name) and name.id.isupper():
                    yield name.id, ast.unparse(part)


def test_modules_do_not_import_each_other_in_cycles() -> None:
    names = {module_name(path): path for path in FILES}
    graph = {name: imports_of(path, name, names.keys()) for name, path in names.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(reversed(error.args[1])))


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path, module: str, known: set[str]) -> set[str]:
    """Return the modules of tamis that a module imports when it is imported itself."""
    found: set[str] = set()
    pending: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} has a relative import"
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= members & known
            if members - known:
                found.add(node.module or "")
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending += node.orelse
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            pending += ast.iter_child_nodes(node)
    return found & known


@pytest.mark.parametrize("name", PACKAGES)
def test_all_lists_every_public_name(name: str) -> None:
    module = importlib.import_module(name)
    names = list(module.__all__)
    assert names == sorted(set(names), key=lambda n: (not n.isupper(), not n[0].isupper(), n))
    for public in names:
        assert getattr(module, public) is not None
    defined = {
        key
        for key, value in vars(module).items()
        if not key.startswith("_") and str(getattr(value, "__module__", "")).startswith("tamis")
    }
    assert not defined - set(names), "public, but not in __all__"


@pytest.mark.parametrize("statement", ["import tamis", "from tamis.cli.app import app"])
def test_starting_imports_no_heavy_library(statement: str) -> None:
    code = f"import sys; {statement}; print(' '.join(sys.modules))"
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(finished.stdout.split()) & set(HEAVY)


def test_the_exception_tree_in_the_docstring_is_complete() -> None:
    errors = importlib.import_module("tamis._base.errors")
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, errors.TamisError)]
    assert errors.__doc__
    for kind in classes:
        line = next(row for row in errors.__doc__.splitlines() if kind.__name__ in row)
        if kind.exit_code != kind.__mro__[1].__dict__.get("exit_code", None):
            assert str(kind.exit_code) in line


def test_pip_commands_install_this_package_or_its_dependencies() -> None:
    problems, own = [], 0
    for path in install_files():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            for requirement in requirements(line):
                problem = problem_with(requirement)
                own += requirement.partition("[")[0] == PROJECT["name"]
                if problem:
                    problems.append(
                        f"{path.relative_to(ROOT)}:{number}: pip install {requirement}: {problem}"
                    )
    assert not problems, "\n".join(problems)
    assert own > 5, "the pattern finds the commands"


def test_required_extras_exist() -> None:
    pattern = re.compile(r"\brequire\([^)]*?\bextra=\"([^\"]+)\"")
    for path in FILES:
        for extra in pattern.findall(path.read_text(encoding="utf-8")):
            assert extra in PROJECT["optional-dependencies"], f"{path}: tamis[{extra}]"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("pip install 'tamis[plot,dask]', or the container", ["tamis[plot,dask]"]),
        ("needs `pip install --no-deps nvidia-pytriton==0.7.0` |", ["nvidia-pytriton"]),
        ("$(BIN)/python -m pip install --quiet -e '.[dev]'", [".[dev]"]),
        ("python3 -m venv x && x/bin/pip install a b && true", ["a", "b"]),
        ("pip install -r benchmarks/requirements.txt", []),
        ("the `pip install` that repairs it", []),
    ],
)
def test_requirements_are_read_from_pip_commands(line: str, expected: list[str]) -> None:
    assert list(requirements(line)) == expected


def install_files() -> Iterator[Path]:
    for place in INSTALL_PLACES:
        path = ROOT / place
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            readable = file.suffix in ("", ".py", ".md", ".ipynb", ".toml", ".yml", ".sh")
            if file.is_file() and readable and "records" not in file.parts and file != Path(__file__):
                yield file


def requirements(line: str) -> Iterator[str]:
    """Yield the requirements of the pip commands in a line of text, without versions."""
    for command in line.replace("\\", "").split("pip install")[1:]:
        words = iter(re.split(r'[`")#;|&]|, ', command)[0].replace("'", " ").split())
        for word in words:
            if word in ("-r", "-c", "--requirement", "--constraint"):
                next(words, None)
            elif not word.startswith("-"):
                yield re.split(r"[=<>~!]", word)[0].rstrip(",.:" if len(word) > 1 else "")


def problem_with(requirement: str) -> str:
    """Return why a requirement does not belong into a pip command of this project, or an empty string."""
    name, _, extras = requirement.rstrip("]").partition("[")
    if name in (PROJECT["name"], "."):
        extra_names = {extra for extra in extras.split(",") if extra and not extra.startswith("{")}
        unknown = extra_names - set(PROJECT["optional-dependencies"])
        return f"there is no extra {', '.join(sorted(unknown))}" if unknown else ""
    extras_lists = PROJECT["optional-dependencies"].values()
    declared = [*PROJECT["dependencies"], *(line for lines in extras_lists for line in lines)]
    names = {re.split(r"[\[<>=~!; ]", dependency)[0] for dependency in declared}
    return "" if name in names | set(INSTALLED_BY_HAND) or name.endswith(".whl") else "not in pyproject.toml"
