"""ROOT files: opening them without caches, and choosing the tree that holds the events."""

from __future__ import annotations

from typing import Any

import cramjam
import uproot

from tamis._base import UnreadableFileError, UsageError, did_you_mean
from tamis.events.failures import reading
from tamis.events.locate import is_url
from tamis.events.rntuple import NtupleTable
from tamis.events.table import Table
from tamis.events.ttree import TreeTable

# what uproot and its decompressors raise beyond Python's own errors
ROOT_ERRORS: tuple[type[Exception], ...] = (cramjam.DecompressionError, uproot.DeserializationError)

# the trees that experiments put events into: CMS NanoAOD, ATLAS DAOD_PHYSLITE
EVENT_TREES = ("Events", "CollectionTree")
_TREES = {"TTree": "TTree", "TNtuple": "TTree", "TNtupleD": "TTree", "ROOT::RNTuple": "RNTuple"}
_OLD_NTUPLE = "ROOT::Experimental::RNTuple"


def open_file(url: str) -> Any:
    """Open a ROOT file without uproot's caches, which would grow with every file and basket."""
    options: dict[str, Any] = {"object_cache": None, "array_cache": None}
    if not is_url(url):
        options |= {"handler": uproot.source.file.MultithreadedFileSource, "num_workers": 1}
    with reading(url, *ROOT_ERRORS):
        # the mapping keeps uproot from taking a colon in a name for the path of an object
        return uproot.open({url: None}, **options)


def trees_of(file: Any, url: str) -> dict[str, str]:
    """Return the trees of a file: path in the file -> TTree or RNTuple."""
    with reading(url, *ROOT_ERRORS):
        classes = file.classnames(recursive=True, cycle=False)
        return {name: _TREES[kind] for name, kind in classes.items() if kind in _TREES}


def open_root(url: str, tree: str | None) -> Table:
    """Open the events of a ROOT file."""
    file = open_file(url)
    try:
        trees = trees_of(file, url)
        name = _pick(file, trees, tree, url)
        with reading(url, *ROOT_ERRORS):
            return open_tree(file, url, name, trees[name])
    except BaseException:
        file.close()
        raise


def open_tree(file: Any, url: str, name: str, kind: str) -> Table:
    """Open one tree of an open file."""
    return (
        TreeTable(url, file, name, ROOT_ERRORS)
        if kind == "TTree"
        else NtupleTable(url, file, name, ROOT_ERRORS)
    )


def _pick(file: Any, trees: dict[str, str], asked: str | None, url: str) -> str:
    """Return the tree that is asked for, that experiments use, or the only one."""
    if not trees:
        raise UnreadableFileError(f"{url} holds no tree of events: {_contents(file, url)}")
    if asked is not None:
        if asked not in trees:
            raise UsageError(f"{url} has no tree {asked!r}; {did_you_mean(asked, trees)}".rstrip("; "))
        return asked
    for name in EVENT_TREES:
        if name in trees:
            return name
    if len(trees) > 1:
        raise UsageError(f"{url} has several trees; name one of them: {', '.join(trees)}")
    return next(iter(trees))


def _contents(file: Any, url: str) -> str:
    with reading(url, *ROOT_ERRORS):
        kinds = file.classnames(recursive=True, cycle=False)
    if not kinds:
        return "its directory is empty (was it closed properly when it was written?)"
    if _OLD_NTUPLE in kinds.values():
        return "it holds an RNTuple of the experimental format, from before ROOT 6.34; convert it with a newer ROOT"
    return "it holds " + ", ".join(f"{name} ({kind})" for name, kind in list(kinds.items())[:6])
