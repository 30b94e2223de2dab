"""Finding a compiler, and what it says when it cannot."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

import tamis
from tamis._base import MissingExtraError, ModelError, UsageError
from tamis.native import example_event
from tamis.native.build import LEVELS, build, compile_shared, find_compiler, find_level, host_level
from tamis.native.build.toolchain import FLAGS, SHARED


@pytest.fixture
def script(tmp_path):
    """Write a program that stands in for a compiler."""

    def write(text: str):
        path = tmp_path / "cc-script"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    return write


@pytest.fixture
def no_compiler(monkeypatch, tmp_path):
    """Have nothing on the path, and no ziglang."""
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.delenv("TAMIS_CC", raising=False)
    monkeypatch.setitem(sys.modules, "ziglang", None)


def test_without_a_compiler_the_extra_is_named(no_compiler, monkeypatch, bundle_of):
    monkeypatch.setattr("tamis.native.build.toolchain.find_spec", lambda _name: None)
    with pytest.raises(MissingExtraError, match=r"needs a C compiler.*pip install 'tamis\[compiler\]'"):
        tamis.open(bundle_of("dense"), "native")


def test_bench_and_verify_leave_it_out_without_a_compiler(tmp_path, bundle_of):
    environment = {
        **os.environ,
        "PATH": str(tmp_path),
        "PYTHONPATH": os.pathsep.join(p for p in sys.path if "zig" not in p),
    }
    environment.pop("TAMIS_CC", None)
    hide = "import sys; sys.modules['ziglang'] = None; import importlib.util as u; f = u.find_spec; "
    hide += "u.find_spec = lambda n, *a: None if n == 'ziglang' else f(n, *a); "
    code = hide + "from tamis.cli.output import engines_of; print(engines_of('all'))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert "native" not in done.stdout
    assert "onnxruntime" in done.stdout
    assert "left out: the native engine needs a C compiler" in done.stderr


def test_the_variable_names_a_compiler_with_its_arguments(monkeypatch, script, bundle_of):
    stand_in = script('exec cc "$@"')
    monkeypatch.setenv("TAMIS_CC", f"{stand_in} -pipe")
    compiler = find_compiler()
    assert compiler.command[1:] == ("-pipe",)
    bundle = bundle_of("dense")
    assert build(bundle.model_bytes, example_event(bundle)).path.is_file()


def test_a_compiler_that_is_not_there_is_told(monkeypatch):
    monkeypatch.setenv("TAMIS_CC", "/no/such/cc")
    with pytest.raises(UsageError, match="TAMIS_CC names, '/no/such/cc', is not there"):
        find_compiler()


def test_a_failure_is_one_sentence_with_the_first_error(tmp_path):
    with pytest.raises(ModelError, match=r"error.*nothing_such") as error:
        compile_shared(find_compiler(), "int f(void) { return nothing_such; }", tmp_path / "x.so")
    assert "\n" not in str(error.value)
    assert "TAMIS_CC" in str(error.value)


def test_a_compiler_that_never_ends_is_ended_with_all_it_started(tmp_path, monkeypatch, script):
    mark = tmp_path / "mark"
    monkeypatch.setenv(
        "TAMIS_CC", str(script(f'[ "$1" = --version ] && exit 0\n(sleep 1; touch {mark}) &\nwait'))
    )
    with pytest.raises(ModelError, match=r"was not done after 0\.3 s and was ended"):
        compile_shared(find_compiler(), "", tmp_path / "x.so", limit_s=0.3)
    time.sleep(1.2)
    assert not mark.exists()


def test_a_killed_compiler_is_told(tmp_path, monkeypatch, script):
    monkeypatch.setenv("TAMIS_CC", str(script('[ "$1" = --version ] && exit 0\nkill -9 $$')))
    with pytest.raises(ModelError, match="was killed by signal 9"):
        compile_shared(find_compiler(), "", tmp_path / "x.so")


def test_no_flag_changes_what_a_float_is():
    for flag in (*FLAGS, *SHARED, *(flag for level in LEVELS for flag in level.flags)):
        assert flag not in ("-ffast-math", "-Ofast", "-funsafe-math-optimizations", "-march=native")


def test_the_floating_point_mode_of_the_process_stays(bundle_of):
    """A tiny number stays one after compiled code was loaded and run: nothing is flushed to zero."""
    code = (
        "import sys, numpy as np, tamis; s = tamis.open(sys.argv[1], 'native'); s(*s.bundle.golden.inputs.values()); "
        "x = np.full(64, 1e-40, np.float32); assert (x * np.float32(0.5) > 0).all()"
    )
    subprocess.run([sys.executable, "-c", code, str(bundle_of("dense").path)], check=True, timeout=120)


def test_levels_are_found_by_name_and_by_host():
    assert host_level() in LEVELS
    assert find_level("avx2").target.lanes == 8
    with pytest.raises(UsageError, match="no instruction set is called 'avx51'; did you mean 'avx512'"):
        find_level("avx51")
