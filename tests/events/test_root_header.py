from __future__ import annotations

from pathlib import Path
from typing import Any

import awkward as ak
import numpy as np
import pytest
import uproot

from tamis.events.root_header import LinearTree, linear_headers


def jagged(kind: str) -> Any:
    return ak.types.ListType(ak.types.NumpyType(kind))


NUMBERS = [
    "bool",
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "float32",
    "float64",
]
BRANCHES: dict[str, Any] = {
    "run": np.dtype("u4"),
    **{f"flat_{kind}": np.dtype(kind) for kind in NUMBERS},
    **{f"A{i % 2}_{kind}": jagged(kind) for i, kind in enumerate(NUMBERS)},
    "rows": np.dtype(("f4", (3,))),
    "text": "string",
    **{f"x{i}": np.dtype("f4") for i in range(60)},
    "a name that needs a length of four bytes" * 8: jagged("float32"),
}


def data(events: int) -> dict[str, Any]:
    rng = np.random.default_rng(events)
    made: dict[str, Any] = {}
    for name, kind in BRANCHES.items():
        if kind == "string":
            made[name] = ak.Array([str(i) * i for i in range(events)])
        elif isinstance(kind, np.dtype):
            made[name] = rng.integers(0, 2, (events, *kind.shape)).astype(kind.base)
        else:
            counts = np.arange(events) % 3
            flat = rng.integers(0, 2, counts.sum()).astype(kind.content.primitive)
            made[name] = ak.unflatten(flat, counts)
    return made


def write(path: Path, *, extends: int) -> Any:
    with uproot.recreate(path, compression=uproot.LZ4(4)) as file:
        tree = file.mktree(
            "Events",
            BRANCHES,
            counter_name=lambda name: f"n{name.split('_')[0]}",
            initial_basket_capacity=3,
            resize_factor=2.0,
        )
        for _ in range(extends):
            tree.extend(data(5))
        return tree._cascading


@pytest.mark.parametrize("extends", [0, 1, 2, 7])
def test_the_header_equals_that_of_uproot(tmp_path, extends):
    own = write(tmp_path / "file.root", extends=extends)
    with linear_headers():
        joined = write(tmp_path / "file.root", extends=extends)
    assert isinstance(joined, LinearTree)
    assert joined._joins
    assert b"".join(joined._build_out()) == b"".join(own._build_out())
    for one, other in zip(joined._branch_data, own._branch_data, strict=True):
        assert one["metadata_start"] == other["metadata_start"]
        assert one["basket_metadata_start"] == other["basket_metadata_start"]
    check(tmp_path / "file.root", extends)


def check(path: Path, extends: int) -> None:
    """Return the values of every branch, and its counter."""
    with uproot.open(path) as file:
        tree = file["Events"]
        assert tree.num_entries == 5 * extends
        for name, expected in data(5).items():
            assert tree[name].array().to_list() == ak.Array(expected).to_list() * extends, name
        assert tree["nA1"].array().to_list() == [0, 1, 2, 0, 1] * extends
        assert tree["A1_int8"].count_branch is tree["A1_float32"].count_branch is tree["nA1"]


def test_uproot_writes_the_header_if_the_check_fails(tmp_path, monkeypatch):
    from tamis.events import root_header

    monkeypatch.setattr(root_header, "_NULLS_BYTES", 24)  # as if uproot had written one pointer less
    with linear_headers():
        tree = write(tmp_path / "file.root", extends=4)
    assert isinstance(tree, LinearTree)
    assert tree._joins is False
    check(tmp_path / "file.root", 4)


def test_uproot_is_restored_afterwards(tmp_path):
    with pytest.raises(KeyError), linear_headers():
        raise KeyError
    assert not isinstance(write(tmp_path / "file.root", extends=0), LinearTree)
