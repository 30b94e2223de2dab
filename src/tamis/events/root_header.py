"""A TTree's header in a time that is linear in its branches, where uproot's own takes the square of them.

uproot sums up the length of all that it has serialised at each branch: 0.05 s for 100 branches, 8 s for the 1500 of
NanoAOD. Here uproot serialises every branch as if it were the only one, and the pieces are joined: what depends on
where a branch is are three numbers that uproot keeps, and the references of leaves to their counters, which come first.
That the joined header is uproot's own is proven for each tree on a branch of each kind; were it not, as after a change
in uproot, its own slow way would be taken.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterator
from typing import Any

from uproot.writing import _cascadetree

_BYTE_COUNT = 0x40000000  # ROOT marks a number of bytes with it
_PLACES = ("metadata_start", "basket_metadata_start", "tleaf_reference_number")
_EMPTY_ARRAY_BYTES = 25  # a TObjArray without objects
_NULLS_BYTES = 28  # what a TTree ends with: no aliases, index, friends, user info


@contextlib.contextmanager
def linear_headers() -> Iterator[None]:
    """Let `mktree` make trees whose headers are joined from branches; they stay so when they grow."""
    if not hasattr(_cascadetree.Tree, "_build_out"):  # an older uproot
        yield
        return
    original, _cascadetree.Tree = _cascadetree.Tree, LinearTree
    try:
        yield
    finally:
        _cascadetree.Tree = original


class LinearTree(_cascadetree.Tree):
    """A tree of uproot that is serialised branch by branch."""

    _branch_data: list[Any]
    _joins: bool | None = None

    def _build_out(self) -> list[bytes]:
        every = self._branch_data
        if self._joins is None:
            self._branch_data = _one_of_each(every)
            self._joins = self._is_proven()
            self._branch_data = every
        return self._joined() if self._joins else super()._build_out()

    def _is_proven(self) -> bool:
        """Tell whether the header joined is the one that uproot makes at once, with all places in it."""
        try:
            expected, places = b"".join(super()._build_out()), self._all_places()
            return b"".join(self._joined()) == expected and self._all_places() == places
        except (KeyError, TypeError, ValueError, struct.error):
            return False

    def _all_places(self) -> list[Any]:
        return [self._metadata_start, *([datum[place] for place in _PLACES] for datum in self._branch_data)]

    def _joined(self) -> list[bytes]:
        """Return the pieces of the header."""
        every = self._branch_data
        try:
            self._branch_data = []
            empty = b"".join(super()._build_out())
            first = len(empty) - _NULLS_BYTES - _EMPTY_ARRAY_BYTES  # where branches begin
            branches: list[bytes] = []
            at = 0
            for datum in every:
                self._branch_data = [datum]
                alone = b"".join(super()._build_out())
                branch = alone[first : len(alone) - len(empty) + first - 4]  # and a reference to its leaf
                for place in _PLACES:
                    datum[place] += at
                branches.append(branch)
                at += len(branch)
        finally:
            self._branch_data = every
        leaves = struct.pack(f">{len(every)}I", *(datum["tleaf_reference_number"] for datum in every))
        inner = [
            empty[4 : first - _EMPTY_ARRAY_BYTES],
            _array_like(empty[first - _EMPTY_ARRAY_BYTES : first], len(every), at),
            *branches,
            _array_like(empty[first : first + _EMPTY_ARRAY_BYTES], len(every), len(leaves)),
            leaves,
            empty[first + _EMPTY_ARRAY_BYTES :],
        ]
        return [struct.pack(">I", sum(map(len, inner)) | _BYTE_COUNT), *inner]


def _one_of_each(branches: list[Any]) -> list[Any]:
    """Return a branch of each kind, and what counts it, in their order."""
    found: dict[Any, Any] = {}
    for datum in branches:
        if datum["kind"] == "record":
            return [datum]  # has no places: the proof fails
        kind = (datum["kind"], str(datum["dtype"]), datum["shape"], datum["counter"] is None)
        found.setdefault(kind, datum)
    counters = {id(datum["counter"]) for datum in found.values()}
    chosen = {id(datum) for datum in found.values()} | counters
    return [datum for datum in branches if id(datum) in chosen]


def _array_like(empty: bytes, objects: int, size: int) -> bytes:
    """Return how a TObjArray of some objects begins, made of one without any: its bytes come first, the number of objects last but one."""
    count = (_EMPTY_ARRAY_BYTES - 4 + size) | _BYTE_COUNT
    return struct.pack(">I", count) + empty[4:-8] + struct.pack(">II", objects, 0)
