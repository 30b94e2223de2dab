"""`tamis doctor`: what it finds, and that it never fails itself."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tamis._base.libraries import EXTRAS
from tamis.cli.doctor_checks import VARIABLES, check_compiler, check_folders, check_variables

SOURCE = Path(__file__).parents[2] / "src"
LARGE = [
    "distributed",
    "fastjet",
    "keras",
    "matplotlib",
    "memray",
    "mplhep",
    "onnxscript",
    "openvino",
    "pythia8mc",
    "torch",
    "ziglang",
]


def doctor(*arguments: str, **variables: str | None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    done = subprocess.run(
        [sys.executable, "-m", "tamis", *(arguments or ("doctor",))],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={name: value for name, value in environment.items() if value is not None},
    )
    assert "Traceback" not in done.stderr
    return done


def findings(done: subprocess.CompletedProcess[str]) -> dict[tuple[str, str], dict]:
    return {(one["area"], one["name"]): one for one in json.loads(done.stdout)["findings"]}


@pytest.fixture
def broken(tmp_path):
    """Return a function that breaks libraries, large ones always, and returns the PYTHONPATH with which they are found."""

    def spoil(**problems: str) -> str:
        folder = tmp_path / "broken"
        folder.mkdir()
        for name in LARGE:
            (folder / f"{name}.py").write_text("raise ImportError('hidden')")
        for name, problem in problems.items():
            (folder / f"{name}.py").write_text(f"raise ImportError({problem!r})")
        return f"{folder}:{SOURCE}"

    return spoil


@pytest.mark.slow
def test_everything_is_shown_and_works_in_the_environment_of_the_tests():
    done = doctor()
    assert (done.returncode, done.stderr) == (0, "")
    for area in ("base", "compiler", "processor", "machine", "folders", "extras"):
        assert f"\n{area}\n" in done.stdout
    absent = (
        {"acts"} if importlib.util.find_spec("acts") is None else set()
    )  # it has no wheel for older systems
    for extra in EXTRAS.keys() - absent:
        assert re.search(rf"^  ok +{extra} ", done.stdout, re.MULTILINE)
    assert done.stdout.splitlines()[-1] == "tamis is ready to use."


def test_nothing_but_the_base(broken, tmp_path):
    """No compiler, a home that cannot be written, no extras: exit code 0, and each remedy is a command."""
    home = tmp_path / "home"
    home.write_text("a file, so that nothing can be written below it, even by root")
    done = doctor(
        "doctor", "--json", HOME=str(home), XDG_CACHE_HOME=None, TAMIS_CACHE=None, TAMIS_CC=None,
        PATH=str(tmp_path), PYTHONPATH=broken(),
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    found = findings(done)
    assert 0 < found["machine", "cores"]["value"] <= os.cpu_count()
    assert found["machine", "memory"]["value"] > 1e8
    assert re.match(r"(\d+) of \1 work: ", found["base", "libraries"]["found"])
    assert found["folders", "cache"]["state"] == "broken"
    assert "TAMIS_CACHE" in found["folders", "cache"]["remedy"]
    for extra in ("plot", "torch", "openvino", "simulate"):
        assert found["extras", extra]["state"] in ("missing", "broken")
        assert found["extras", extra]["brings"]
        assert f"'tamis[{extra}]'" in found["extras", extra]["remedy"]


def test_broken_base_library_gives_exit_code_1_with_the_reason(broken):
    done = doctor(PYTHONPATH=broken(h5py="libhdf5.so.310: cannot open shared object file"))
    assert done.returncode == 1
    assert "libhdf5.so.310" in done.stdout
    assert re.search(r" install .*'h5py>=", done.stdout)
    assert done.stderr.startswith("tamis: this installation cannot be used: h5py")


def test_any_command_points_to_the_doctor_if_a_library_is_broken(broken):
    done = doctor("inspect", "facile", PYTHONPATH=broken(onnx="libonnx.so: undefined symbol"))
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "undefined symbol" in done.stderr
    assert "`tamis doctor`" in done.stderr


def test_library_that_even_messages_need_is_told_without_a_traceback(broken):
    done = doctor(PYTHONPATH=broken(pydantic="no pydantic here"))
    assert done.returncode == 1
    assert "no pydantic here" in done.stderr
    assert "install tamis again" in done.stderr


def test_remedies_are_never_wrapped(broken):
    """A command is copied from the screen, so it stays on one line."""
    done = doctor(PYTHONPATH=broken(), TAMIS_CC="absent", COLUMNS="60")
    assert re.search(r"^ +unset TAMIS_CC$", done.stdout, re.MULTILINE)
    assert [
        line for line in done.stdout.splitlines() if "pip install" in line and line.endswith("'tamis[plot]'")
    ]


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("#!/bin/sh\nexit 0\n", "cannot be loaded"),
        ("#!/bin/sh\n[ $1 = --version ] && exit 0\necho 'x.c:2: fatal error: math.h: none' >&2; exit 1\n", "math.h"),
    ],
    ids=["writes nothing", "no headers"],
)  # fmt: skip
def test_compiler_is_tried(tmp_path, monkeypatch, script, expected):
    file = tmp_path / "cc"
    file.write_text(script)
    file.chmod(0o755)
    monkeypatch.setenv("TAMIS_CC", str(file))
    (found,) = check_compiler()
    assert found.state == "broken"
    assert expected in found.found
    assert found.remedy == "unset TAMIS_CC"


def test_missing_compiler_tells_what_it_would_bring(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("tamis.cbuild.toolchain.find_spec", lambda _: None)
    (found,) = check_compiler()
    assert found.state == "missing"
    assert "native" in found.brings
    assert found.remedy.endswith("pip install 'tamis[compiler]'")


def test_compiler_of_this_host_works():
    assert [one.state for one in check_compiler()] == ["ok"]


def test_variables_are_shown_but_no_secret_and_typing_errors_are_told(monkeypatch):
    monkeypatch.setenv("TAMIS_TOKEN", "abc123")
    monkeypatch.setenv("TAMIS_CAHCE", "/scratch")
    found = {one.name: one for one in check_variables()}
    assert found["TAMIS_TOKEN"].found.startswith("(not shown)")
    assert "did you mean 'TAMIS_CACHE'" in found["TAMIS_CAHCE"].found
    assert found["TAMIS_CAHCE"].remedy == "unset TAMIS_CAHCE"


def test_variables_are_those_that_the_source_reads():
    texts = [file.read_text(encoding="utf-8") for file in SOURCE.rglob("*.py")]
    assert set(VARIABLES) == {name for text in texts for name in re.findall(r'"(TAMIS_[A-Z]+)"', text)}


@pytest.mark.parametrize(("variable", "name"), [("TMPDIR", "TMPDIR"), ("TAMIS_CACHE", "cache")])
def test_folder_that_cannot_be_written_is_told(variable, name, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(variable, str(tmp_path / "file"))
    one = {found.name: found for found in check_folders()}[name]
    assert one.state == "broken"
    assert str(tmp_path / "file") in one.found
    assert f"export {variable}=" in one.remedy


def test_folder_shows_its_free_bytes(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    one = {found.name: found for found in check_folders()}["TMPDIR"]
    assert one.state == "ok"
    assert one.value == pytest.approx(os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize, rel=0.1)


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None, reason="mounting a folder needs root and unshare"
)
def test_cache_that_code_cannot_be_loaded_from_is_reported_and_the_compiler_is_not_blamed(tmp_path):
    code = (
        "from tamis.cli.doctor_checks import check_compiler, check_folders\n"
        "for one in (*check_folders(), *check_compiler()): print(one.area, one.state, one.found)"
    )
    script = f"mount -t tmpfs -o noexec none {tmp_path} && exec {sys.executable} -c {shlex.quote(code)}"
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script],
        capture_output=True, text=True, check=False, env={**os.environ, "TAMIS_CACHE": str(tmp_path / "cache")},
    )  # fmt: skip
    if "mount:" in done.stderr or "unshare:" in done.stderr:
        pytest.skip(f"no folder can be mounted here: {done.stderr.strip()}")
    assert re.search(r"^folders broken .*cache/native is mounted with noexec", done.stdout, re.MULTILINE), (
        done.stderr
    )
    assert re.search(r"^compiler ok ", done.stdout, re.MULTILINE)
