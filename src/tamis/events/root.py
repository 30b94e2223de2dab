"""Open ROOT files without caches, and choose the tree that holds the events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cramjam
import uproot

from tamis._base import UnreadableFileError, UsageError, did_you_mean
from tamis.events.failures import reading
from tamis.events.locate import is_url
from tamis.events.rntuple import NtupleTable
from tamis.events.table import Table
from tamis.events.ttree import TreeTable

# errors of uproot and its decompressors beyond Python's own
ROOT_ERRORS: tuple[type[Exception], ...] = (cramjam.DecompressionError, uproot.DeserializationError)

# the usual names of trees of events, in order of preference: CMS NanoAOD, FCC and others, ATLAS DAOD_PHYSLITE
EVENT_TREES = ("Events", "events", "CollectionTree")
_TREES = {"TTree": "TTree", "TNtuple": "TTree", "TNtupleD": "TTree", "ROOT::RNTuple": "RNTuple"}
_OLD_NTUPLE = "ROOT::Experimental::RNTuple"


def open_file(url: str) -> Any:
    """Open a ROOT file without uproot's caches, which grow with every file and basket."""
    options: dict[str, Any] = {"object_cache": None, "array_cache": None}
    if not is_url(url):
        # without a thread of its own: it gains nothing for local files, and a broken file would be closed from it
        options |= {
            "handler": uproot.source.file.MultithreadedFileSource,
            "num_workers": 1,
            "use_threads": False,
        }
    with reading(url, *ROOT_ERRORS):
        # given a mapping, uproot does not split the name at a colon
        return uproot.open({url: None}, **options)


def trees_of(file: Any, url: str) -> dict[str, str]:
    """Return the trees of a file: path inside it -> TTree or RNTuple."""
    with reading(url, *ROOT_ERRORS):
        classes = file.classnames(recursive=True, cycle=False)
        return {name: _TREES[kind] for name, kind in classes.items() if kind in _TREES}


def open_root(url: str, tree: str | None) -> Table:
    """Open the events of a ROOT file."""
    file = open_file(url)
    try:
        trees = trees_of(file, url)
        name = choose_tree(file, trees, tree, url)
        return open_tree(file, url, name, trees[name])
    except BaseException:
        file.close()
        raise


def open_tree(file: Any, url: str, name: str, kind: str) -> Table:
    """Open one tree of an open file."""
    opened = TreeTable if kind == "TTree" else NtupleTable
    with reading(url, *ROOT_ERRORS):
        return opened(url, file, name, ROOT_ERRORS)


def choose_tree(file: Any, trees: dict[str, str], requested: str | None, url: str) -> str:
    """Return the requested tree, or the default one; raises if there is no such tree, or the choice is the user's."""
    if not trees:
        raise UnreadableFileError(f"{url} has no tree of events: {_contents(file, url)}")
    if requested is not None and requested not in trees:
        raise UsageError(f"{url} has no tree {requested!r}; {did_you_mean(requested, trees)}".rstrip("; "))
    name = requested or default_tree(trees)
    if name is None:
        raise UsageError(f"{url} has several trees; choose one with --tree (tree=): {', '.join(trees)}")
    return name


def default_tree(trees: Mapping[str, str]) -> str | None:
    """Return the tree that has a usual name, or the only one; None if the choice is the user's."""
    for usual in EVENT_TREES:
        found = [name for name in trees if name.rpartition("/")[2] == usual]
        if usual in trees or len(found) == 1:
            return usual if usual in trees else found[0]
    return next(iter(trees)) if len(trees) == 1 else None


def _contents(file: Any, url: str) -> str:
    """Return a clause on a file without trees: its contents, or why there are none."""
    with reading(url, *ROOT_ERRORS):
        kinds = file.classnames(recursive=True, cycle=False)
    if not kinds:
        return "its directory is empty (was it closed properly when it was written?)"
    if _OLD_NTUPLE in kinds.values():
        return "it contains an RNTuple of the experimental format, from before ROOT 6.34; convert it with a newer ROOT"
    return "it contains " + ", ".join(f"{name} ({kind})" for name, kind in list(kinds.items())[:6])
