"""What is compiled is kept, shared, checked and made again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tamis._base import UsageError
from tamis.native import example_event
from tamis.native.build import build, cache_root, cached, key_of
from tamis.native.call import open_kernel


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """Have a cache with nothing in it."""
    monkeypatch.setenv("TAMIS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "native"


@pytest.fixture
def made():
    """Return a maker of an entry that counts how often it was needed."""

    def make(folder):
        make.times += 1
        (folder / "text").write_text("what it is", encoding="utf-8")
        return {"times": make.times}

    make.times = 0
    return make


def test_an_entry_is_made_once_and_belongs_to_its_user_alone(fresh, made):
    first, second = cached(key_of("a"), made), cached(key_of("a"), made)
    assert first.path == second.path
    assert second.facts == {"times": 1}
    assert (second.path / "text").read_text() == "what it is"
    assert fresh.stat().st_mode & 0o777 == 0o700
    assert cached(key_of("b"), made).facts == {"times": 2}
    assert not [path for path in fresh.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: (path / "text").write_text("something else"),
        lambda path: (path / "text").unlink(),
        lambda path: (path / "entry.json").write_text("{"),
        lambda path: (path / "entry.json").write_text("[]"),
        lambda path: (path / "entry.json").unlink(),
        shutil.rmtree,
        lambda path: (shutil.rmtree(path), path.write_text("a file")),
    ],
)
def test_a_damaged_entry_is_made_again(fresh, made, damage):
    entry = cached("key", made)
    damage(entry.path)
    again = cached("key", made)
    assert again.facts == {"times": 2}
    assert (again.path / "text").read_text() == "what it is"
    assert again.path == entry.path
    assert cached("key", made).facts == {"times": 2}


def test_a_cache_that_takes_nothing_costs_only_time(tmp_path, monkeypatch, made):
    blocked = tmp_path / "a file"
    blocked.write_text("")
    monkeypatch.setenv("TAMIS_CACHE", str(blocked))  # as good as read-only or full, also for root
    entry = cached(key_of(str(tmp_path)), made)
    assert (entry.path / "text").read_text() == "what it is"
    assert entry.path.parent.stat().st_mode & 0o777 == 0o700
    cached(key_of(str(tmp_path)), made)
    assert made.times == 1  # this process keeps it


def test_a_full_disk_is_no_failure(fresh, made, monkeypatch):
    def full(*_args, **_more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copytree", full)
    entry = cached(key_of(str(fresh)), made)
    assert (entry.path / "text").is_file()
    assert fresh not in entry.path.parents


def test_a_cache_that_others_can_write_is_refused(fresh, made):
    cache_root()
    fresh.chmod(0o777)
    with pytest.raises(UsageError, match=r"can be written by other users.*TAMIS_CACHE"):
        cached("key", made)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_cache_of_another_user_is_refused(fresh, made):
    cache_root()
    os.chown(fresh, 12345, 12345)
    with pytest.raises(UsageError, match="can be written by other users"):
        cached("key", made)


def test_what_nobody_uses_goes_when_something_new_comes(fresh, made):
    old, used = cached("old", made), cached("used", made)
    long_ago = time.time() - 61 * 86_400
    for entry in (old, used):
        os.utime(entry.path, (long_ago, long_ago))
    cached("used", made)
    cached("new", made)
    assert not old.path.exists()
    assert used.path.is_dir()


def test_a_failure_leaves_nothing_and_the_next_one_tries_again(fresh, made):
    def fail(folder):
        (folder / "half").write_text("")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        cached("key", fail)
    assert not list(fresh.iterdir())
    assert cached("key", made).facts == {"times": 1}


def test_threads_of_one_process_may_ask_at_once(fresh, made):
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: cached("key", made), range(8)))
    assert all((entry.path / "text").is_file() for entry in found)


def test_many_processes_compile_one_model_at_once_and_all_have_it(fresh, bundle_of):
    bundle = bundle_of("dense")
    code = (
        "import sys, numpy as np, tamis; s = tamis.open(sys.argv[1], 'native'); "
        "print(s(*s.bundle.golden.inputs.values()).tobytes().hex())"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(bundle.path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    told = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0] * 4, told
    assert len({out for out, _ in told}) == 1
    assert not [path for path in fresh.iterdir() if path.name.startswith(".")]


def test_a_damaged_object_is_compiled_again(fresh, bundle_of):
    bundle = bundle_of("dense")
    first = build(bundle.model_bytes, example_event(bundle))
    first.path.write_bytes(first.path.read_bytes()[:1000])
    again = build(bundle.model_bytes, example_event(bundle))
    found = open_kernel(again)(list(bundle.golden.inputs.values()))
    np.testing.assert_allclose(found[0], bundle.golden.outputs["score"], rtol=1e-5)
