"""The cache of compiled code: entries are built once, shared, checked and rebuilt."""

from __future__ import annotations

import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from tamis._base import UsageError
from tamis.cbuild import cache_root, cached, key_of


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    """Use an empty cache; return its folder."""
    monkeypatch.setenv("TAMIS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "native"


@pytest.fixture
def builder():
    """Return a function that builds an entry and counts its calls."""

    def make(folder):
        make.times += 1
        (folder / "text").write_text("contents", encoding="utf-8")
        return {"times": make.times}

    make.times = 0
    return make


def test_entry_is_built_once_and_private_to_its_user(empty_cache, builder):
    first, second = cached(key_of("a"), builder), cached(key_of("a"), builder)
    assert first.path == second.path
    assert second.facts == {"times": 1}
    assert (second.path / "text").read_text() == "contents"
    assert empty_cache.stat().st_mode & 0o777 == 0o700
    assert cached(key_of("b"), builder).facts == {"times": 2}
    assert not [path for path in empty_cache.iterdir() if path.name.startswith(".")]


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
def test_damaged_entry_is_rebuilt(empty_cache, builder, damage):
    entry = cached("key", builder)
    damage(entry.path)
    again = cached("key", builder)
    assert again.facts == {"times": 2}
    assert (again.path / "text").read_text() == "contents"
    assert again.path == entry.path
    assert cached("key", builder).facts == {"times": 2}


def test_without_a_writable_cache_the_process_keeps_entries(tmp_path, monkeypatch, builder):
    blocked = tmp_path / "a file"
    blocked.write_text("")
    monkeypatch.setenv("TAMIS_CACHE", str(blocked))  # like a read-only or full disk, also for root
    entry = cached(key_of(str(tmp_path)), builder)
    assert (entry.path / "text").read_text() == "contents"
    assert entry.path.parent.stat().st_mode & 0o777 == 0o700
    cached(key_of(str(tmp_path)), builder)
    assert builder.times == 1  # the private folder has it


def test_full_disk_leaves_the_entry_in_the_private_folder(empty_cache, builder, monkeypatch):
    def full(*_args, **_more):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copytree", full)
    entry = cached(key_of(str(empty_cache)), builder)
    assert (entry.path / "text").is_file()
    assert empty_cache not in entry.path.parents


def test_cache_that_other_users_can_write_is_rejected(empty_cache, builder):
    cache_root()
    empty_cache.chmod(0o777)
    with pytest.raises(UsageError, match=r"can be written by other users.*TAMIS_CACHE"):
        cached("key", builder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can change the owner of a folder")
def test_cache_of_another_user_is_rejected(empty_cache, builder):
    cache_root()
    os.chown(empty_cache, 12345, 12345)
    with pytest.raises(UsageError, match="can be written by other users"):
        cached("key", builder)


def test_unused_entries_are_pruned_when_a_new_one_is_written(empty_cache, builder):
    old, used = cached("old", builder), cached("used", builder)
    long_ago = time.time() - 61 * 86_400
    for entry in (old, used):
        os.utime(entry.path, (long_ago, long_ago))
    cached("used", builder)
    cached("new", builder)
    assert not old.path.exists()
    assert used.path.is_dir()


def test_failed_build_leaves_nothing_and_is_retried(empty_cache, builder):
    def fail(folder):
        (folder / "half").write_text("")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        cached("key", fail)
    assert not list(empty_cache.iterdir())
    assert cached("key", builder).facts == {"times": 1}


def test_threads_can_request_one_entry_at_once(empty_cache, builder):
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: cached("key", builder), range(8)))
    assert all((entry.path / "text").is_file() for entry in found)
