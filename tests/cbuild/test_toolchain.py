"""Finding a compiler, running it, and the errors when that fails."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

import tamis
from tamis._base import MissingExtraError, ModelError, UsageError
from tamis.cbuild import COMPILE_FLAGS, compile_shared, find_compiler
from tamis.cbuild.toolchain import SHARED_FLAGS


@pytest.fixture
def script(tmp_path):
    """Return a function that writes a program to be used as the compiler."""

    def write(text: str):
        path = tmp_path / "cc-script"
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
        return path

    return write


@pytest.fixture
def no_compiler(monkeypatch, tmp_path):
    """Hide all compilers, ziglang included."""
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.delenv("TAMIS_CC", raising=False)
    monkeypatch.setitem(sys.modules, "ziglang", None)


def test_missing_compiler_error_names_the_extra(no_compiler, monkeypatch, bundle_of):
    monkeypatch.setattr("tamis.cbuild.toolchain.find_spec", lambda _name: None)
    with pytest.raises(MissingExtraError, match=r"needs a C compiler.*pip install 'tamis\[compiler\]'"):
        tamis.open(bundle_of("dense"), "native")


def test_bench_and_verify_leave_out_native_without_a_compiler(tmp_path, bundle_of):
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
    assert "the native engine needs a C compiler" in done.stderr


def test_variable_names_a_compiler_and_its_arguments(monkeypatch, script, tmp_path):
    stand_in = script('exec cc "$@"')
    monkeypatch.setenv("TAMIS_CC", f"{stand_in} -pipe")
    compiler = find_compiler()
    assert compiler.command[1:] == ("-pipe",)
    compile_shared(compiler, "int f(void) { return 1; }", tmp_path / "x.so")
    assert (tmp_path / "x.so").is_file()


def test_unknown_compiler_in_the_variable_is_an_error(monkeypatch):
    monkeypatch.setenv("TAMIS_CC", "/no/such/cc")
    with pytest.raises(UsageError, match="'/no/such/cc' that TAMIS_CC names was not found"):
        find_compiler()


def test_compile_error_is_one_line_with_the_first_error(tmp_path):
    with pytest.raises(ModelError, match=r"error.*nothing_such") as error:
        compile_shared(find_compiler(), "int f(void) { return nothing_such; }", tmp_path / "x.so")
    assert "\n" not in str(error.value)
    assert "TAMIS_CC" in str(error.value)


def test_compiler_past_its_time_limit_is_killed_with_its_children(tmp_path, monkeypatch, script):
    mark = tmp_path / "mark"
    monkeypatch.setenv(
        "TAMIS_CC", str(script(f'[ "$1" = --version ] && exit 0\n(sleep 1; touch {mark}) &\nwait'))
    )
    with pytest.raises(ModelError, match=r"was killed after 0\.3 s"):
        compile_shared(find_compiler(), "", tmp_path / "x.so", limit_s=0.3)
    time.sleep(1.2)
    assert not mark.exists()


def test_signal_that_killed_the_compiler_is_reported(tmp_path, monkeypatch, script):
    monkeypatch.setenv("TAMIS_CC", str(script('[ "$1" = --version ] && exit 0\nkill -9 $$')))
    with pytest.raises(ModelError, match="was killed by signal 9"):
        compile_shared(find_compiler(), "", tmp_path / "x.so")


def test_no_flag_changes_floating_point_semantics():
    for flag in (*COMPILE_FLAGS, *SHARED_FLAGS):
        assert flag not in ("-ffast-math", "-Ofast", "-funsafe-math-optimizations", "-march=native")


def test_trigger_does_not_import_the_compiler_of_models():
    code = "import sys, tamis.trigger; assert not [m for m in sys.modules if m.startswith('tamis.native')]"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
