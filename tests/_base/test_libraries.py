"""What is installed: our own requirements, and libraries that are there and do not work."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest

from tamis._base.libraries import EXTRAS, Library, imported, install_command, needed_libraries

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Return a function that writes modules which the processes of `imported` find, and describes them as libraries."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def write(**sources: str) -> list[Library]:
        for name, source in sources.items():
            (tmp_path / f"{name}.py").write_text(source)
        return [Library(name=name, requirement=name, version="1.0") for name in sources]

    return write


def test_every_extra_for_users_has_a_purpose():
    developers = {"all", "test", "docs", "dev"}
    assert set(EXTRAS) == set(PROJECT["optional-dependencies"]) - developers


def test_extras_in_the_documentation_are_those_of_the_package():
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    rows = {
        name
        for row in re.findall(r"^\| (`.*?`) \|", page, re.MULTILINE)
        for name in re.findall("`(.+?)`", row)
    }
    assert rows == {*EXTRAS, "all"}


def test_libraries_of_the_base_and_of_an_extra():
    base = needed_libraries()
    assert {"numpy", "onnxruntime", "uproot"} <= {one.name for one in base}
    assert not [one for one in base if one.problem]
    plot = needed_libraries("plot")
    assert {one.name for one in plot} == {"matplotlib", "mplhep", "hist", "jinja2"}


def test_library_that_works_keeps_its_version():
    (group,) = imported([needed_libraries()])
    assert all(one.version and not one.problem for one in group)


def test_broken_library_is_told_with_its_error(modules):
    (group,) = imported([modules(tamis_good="", tamis_bad="raise OSError('libfoo.so.1: cannot open')")])
    assert [one.problem for one in group] == [
        "",
        "cannot be imported: OSError: libfoo.so.1: cannot open",
    ]


def test_library_that_prints_and_one_that_exits_are_survived(modules):
    libraries = modules(
        tamis_chatty="print('[]'); print('hello')", tamis_exits="raise SystemExit(0)", tamis_last=""
    )
    (group,) = imported([libraries])
    assert [one.problem for one in group] == ["", "cannot be imported: SystemExit: 0", ""]


def test_crash_is_attributed_to_the_library_that_crashed(modules):
    crash = "import os, signal; os.kill(os.getpid(), signal.SIGILL)"
    (group,) = imported(
        [modules(tamis_before="", tamis_illegal=crash, tamis_after="", tamis_dead="import os; os._exit(3)")]
    )
    before, illegal, after, dead = [one.problem for one in group]
    assert (before, after) == ("", "")
    assert (
        illegal
        == "cannot be imported: Python is killed by SIGILL (it uses instructions that this processor lacks)"
    )
    assert dead == "cannot be imported: Python exits with code 3"


def test_library_that_never_returns_is_ended(modules):
    (group,) = imported([modules(tamis_slow="import time; time.sleep(60)", tamis_next="")], limit_s=1.0)
    assert [one.problem for one in group] == ["importing it takes more than 1 s", ""]


def test_command_installs_into_this_environment():
    command = install_command("tamis[plot]")
    assert command.endswith(" install 'tamis[plot]'") or command.startswith("uv ")
    assert command.endswith(" 'tamis[plot]'")
    assert "&&" not in command


def test_packages_folder_of_somebody_else_needs_a_new_environment(monkeypatch):
    monkeypatch.setattr("os.access", lambda *_: False)
    command = install_command("tamis[plot]")
    assert " -m venv ./tamis-env && " in command
    assert command.endswith(" && ./tamis-env/bin/python -m pip install 'tamis[plot]'")
    assert "outer.pth" in command  # these tests run in a virtual environment


def test_what_has_to_be_installed_first_comes_first():
    first, then = install_command("tamis[torch]", first="torch==2.13.0").split(" && ")
    assert first.endswith(" torch==2.13.0")
    assert then.endswith(" 'tamis[torch]'")


def test_without_pip_uv_is_called(monkeypatch):
    monkeypatch.setattr("tamis._base.libraries.find_spec", lambda _: None)
    monkeypatch.setattr("tamis._base.libraries.shutil.which", lambda name: f"/usr/bin/{name}")
    assert install_command("tamis[plot]") == f"uv pip install --python={sys.executable} 'tamis[plot]'"
