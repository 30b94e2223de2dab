"""Check the wheel on every supported version of Python: install it without extras, use it, run the tests that need no extras.

Usage: python tools/python_versions.py [VERSION ...], such as 3.12; without versions, all supported ones. Versions that the host does
not have are listed as not run. Exits with 1 when a check fails.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
VERSIONS = tuple(
    line.rsplit(" ", 1)[1]
    for line in PROJECT["classifiers"]
    if line.startswith("Programming Language :: Python :: 3.")
)
TESTS = (
    "tests/_base",
    "tests/bundle",
    "tests/engines",
    "tests/events",
    "tests/trigger",
    "tests/test_platform.py",
)
TEST_REQUIREMENTS = ("pytest", "pytest-xdist", "hypothesis")
LIMIT_S = 900  # per command
MIN_PASSED = 500  # fewer tests would mean that the skipping below hides too much
# Import names of the libraries in the extras. A test that needs one of them is skipped; any other missing module is a failure.
OPTIONAL_MODULES = (
    "aiohttp", "cryptography", "distributed", "fastjet", "grpc", "hist", "hpack", "httptools", "jinja2", "keras", "matplotlib",
    "memray", "mplhep", "onnxscript", "openvino", "playwright", "prometheus_client", "pythia8mc", "requests", "simpy", "torch",
    "tritonclient", "uvloop",
)  # fmt: skip
PYTEST_PLUGIN = f"""
import pytest

def missing(error):
    while error is not None:
        if isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] in {OPTIONAL_MODULES}:
            return error.name
        error = error.__cause__

def skip(report, error):
    name = missing(error)
    if report.failed and name:
        report.outcome, report.longrepr = "skipped", (str(report.fspath), 0, f"Skipped: needs {{name}}")

@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    skip(report, call.excinfo and call.excinfo.value)
    return report

@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    report = yield
    call = getattr(report, "call", None)
    excinfo = call.excinfo if call else None
    skip(report, excinfo and excinfo.value)
    return report
"""
PREPARE = """
import awkward as ak, numpy as np, onnx
from onnx import parser
from tamis.events import Events, open_writer

model = parser.parse_model('''<ir_version: 8, opset_import: ["" : 17]>
small (float[N, 4] x) => (float[N, 1] score) <float[4, 1] w = {1.0, -2.0, 0.5, 0.25}> { a = MatMul (x, w) score = Sigmoid (a) }''')
onnx.save(model, "small.onnx")
count = 100
columns = {name: np.arange(count) for name in ("run", "luminosityBlock", "event")}
with open_writer("events.parquet") as writer:
    writer.write(Events.of(columns | {"MET_pt": np.linspace(0, 100, count).astype(np.float32)}))
with open("menu.yaml", "w") as menu:
    menu.write("menu: small\\npaths:\\n  met: {steps: [MET_pt > 50]}\\nstreams:\\n  met: {paths: [met], format: parquet}\\n")
"""
CHECKS = (
    ("import", ["-c", "import tamis; tamis.open"]),
    ("prepare", ["-c", PREPARE]),
    ("help", ["-m", "tamis", "--help"]),
    ("inspect", ["-m", "tamis", "inspect", "small.onnx"]),
    ("pack", ["-m", "tamis", "pack", "small.onnx", "-o", "small.tamis"]),
    ("verify", ["-m", "tamis", "verify", "small.tamis", "--engine", "onnxruntime,reference"]),
    ("run", ["-m", "tamis", "run", "menu.yaml", "events.parquet", "-o", "out"]),
)


class Result(NamedTuple):
    """The outcome of a check; `output` explains a failure."""

    version: str
    check: str
    passed: bool
    output: str = ""


def main(arguments: list[str] | None = None) -> int:
    """Run all checks, print a table, and return the exit code."""
    parser = argparse.ArgumentParser(description="Check the wheel on every supported version of Python.")
    parser.add_argument("versions", nargs="*", default=VERSIONS, help="such as 3.12; default: all supported")
    parser.add_argument(
        "--all-tests", action="store_true", help="run the tests on every version; default: on the newest one"
    )
    options = parser.parse_args(arguments)
    found = {version: find_python(version) for version in options.versions}
    newest = [version for version, python in found.items() if python is not None][-1:]
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        wheel = build_wheel(Path(folder))
        for version, python in found.items():
            if python is None:
                print(f"{version}  not run: not installed", flush=True)
                continue
            tested = options.all_tests or version in newest
            for result in check_version(version, python, wheel, Path(folder) / version, tested=tested):
                note = (
                    result.output.strip().splitlines()[-1]
                    if result.check == "tests" and result.output
                    else ""
                )
                print(
                    f"{version}  {result.check:8}  {'passed' if result.passed else 'FAILED'}  {note}".rstrip(),
                    flush=True,
                )
                failures += [] if result.passed else [result]
    for result in failures:
        print(f"\n{result.version}, {result.check}:\n{result.output[-6000:]}")
    return 1 if failures else 0


def find_python(version: str) -> str | None:
    """Return a working interpreter of a version, from PATH or pyenv."""
    candidates = [shutil.which(f"python{version}")]
    candidates += sorted(map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}")))
    for python in filter(None, candidates):
        code = "import sys, venv; print('%d.%d' % sys.version_info[:2])"
        found = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
        if found.stdout.strip() == version:  # a shim of pyenv may exist without its interpreter
            return python
    return None


def build_wheel(folder: Path) -> Path:
    """Build the wheel and return its path."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT]
    subprocess.run(command, check=True, timeout=LIMIT_S)
    return next(folder.glob("*.whl"))


def check_version(version: str, python: str, wheel: Path, folder: Path, *, tested: bool) -> Iterator[Result]:
    """Yield the result of each check, without the tests unless `tested`; stop if the installation fails."""
    subprocess.run([python, "-m", "venv", folder], check=True, timeout=LIMIT_S)
    interpreter = str(folder / "bin" / "python")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"TAMIS_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}

    def check(name: str, command: list[str], cwd: Path) -> Result:
        finished = subprocess.run(
            [interpreter, *command],
            cwd=cwd,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=LIMIT_S,
            check=False,
        )
        return Result(version, name, finished.returncode == 0, finished.stdout)

    install = ["-m", "pip", "install", "--quiet", str(wheel)]
    installed = check("install", install, folder)
    yield installed
    if not installed.passed:
        return
    for name, command in CHECKS:
        yield check(name, command, folder)
    if not tested:
        return
    yield check("pytest", ["-m", "pip", "install", "--quiet", *TEST_REQUIREMENTS], folder)
    (folder / "skip_optional.py").write_text(PYTEST_PLUGIN, encoding="utf-8")
    environment["PYTHONPATH"] = str(folder)
    options = [
        "-q",
        "-n",
        "2",
        "-r",
        "f",
        "--tb=short",
        "-m",
        "not slow",
        "-p",
        "no:cacheprovider",
        "-p",
        "skip_optional",
    ]
    tests = check("tests", ["-m", "pytest", *options, *TESTS], ROOT)
    count = re.search(r"(\d+) passed", tests.output)
    yield tests._replace(passed=tests.passed and count is not None and int(count[1]) >= MIN_PASSED)


if __name__ == "__main__":
    sys.exit(main())
