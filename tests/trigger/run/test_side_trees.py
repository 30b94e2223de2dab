"""Runs and LuminosityBlocks survive a skim: weights and luminosity are in every stream, once."""

import awkward as ak
import numpy as np
import pyarrow.parquet as pq
import pytest
import uproot

from tamis.trigger import Menu, menu_of, run_menu

MENU = menu_of(
    Menu.model_validate(
        {
            "menu": "m",
            "paths": {"p": {"steps": ["MET_pt > 20"]}, "q": {"steps": ["MET_pt > 1e9"]}},
            "streams": {
                "tree": {"paths": ["p"], "keep": ["MET_pt"]},
                "none": {"paths": ["q"], "keep": ["MET_pt"]},
                "table": {"paths": ["p"], "keep": ["MET_pt"], "format": "parquet"},
            },
        }
    )
)


@pytest.fixture
def nano(tmp_path):
    """Return a function that writes a small NanoAOD file."""

    def make(name, run, **more):
        count = 30
        path = tmp_path / name
        with uproot.recreate(path) as file:
            file.mktree(
                "Events", {"run": "u4", "luminosityBlock": "u4", "event": "u8", "MET_pt": "f4"}
            ).extend(
                {
                    "run": np.full(count, run, "u4"),
                    "luminosityBlock": np.ones(count, "u4"),
                    "event": np.arange(count, dtype="u8"),
                    "MET_pt": np.arange(count, dtype="f4"),
                }
            )
            rows = {
                "run": np.array([run], "u4"),
                "genEventSumw": np.array([run * 1.5]),
                "Weights": ak.Array([[1.0, float(run)]]),
                **more,
            }
            kinds = {k: "var * float64" if k == "Weights" else v.dtype for k, v in rows.items()}
            file.mktree("Runs", kinds).extend(rows)
            blocks = {"run": np.full(2, run, "u4"), "luminosityBlock": np.array([1, 2], "u4")}
            file.mktree("LuminosityBlocks", {"run": "u4", "luminosityBlock": "u4"}).extend(blocks)
        return path

    return make


def test_sums_of_weights_and_blocks_are_in_every_stream(nano, tmp_path):
    files = [nano("a.root", 1), nano("b.root", 2)]
    summary = run_menu(MENU, files, tmp_path / "out")
    assert summary.side_trees == {"Runs": 2, "LuminosityBlocks": 4}
    assert summary.side_tree_problems == ()
    for stream in ("tree", "none"):  # also in one that took no event
        with uproot.open(tmp_path / "out" / f"{stream}.root") as file:
            assert file["Runs"]["genEventSumw"].array().to_list() == [1.5, 3.0]
            assert file["Runs"]["Weights"].array().to_list() == [[1.0, 1.0], [1.0, 2.0]]
            blocks = file["LuminosityBlocks"].arrays(["run", "luminosityBlock"])
            assert blocks.run.to_list() == [1, 1, 2, 2]
            assert file["Events"].num_entries == (18 if stream == "tree" else 0)
    table = pq.read_table(tmp_path / "out" / "table-Runs.parquet")
    assert table["genEventSumw"].to_pylist() == [1.5, 3.0]
    again = run_menu(MENU, [tmp_path / "out" / "tree.root"], tmp_path / "again")  # a skim of a skim
    assert again.side_trees == {"Runs": 2, "LuminosityBlocks": 4}


def test_columns_that_files_do_not_share_are_told(nano, tmp_path):
    files = [nano("a.root", 1, genEventCount=np.array([7])), nano("b.root", 2)]
    summary = run_menu(MENU, files, tmp_path / "out")
    (problem,) = summary.side_tree_problems
    assert "the tree Runs is kept without genEventCount" in problem
    assert "b.root" in problem
    with uproot.open(tmp_path / "out" / "tree.root") as file:
        assert file["Runs"]["genEventSumw"].array().to_list() == [1.5, 3.0]


def test_real_nanoaod_keeps_its_runs(real_file, tmp_path):
    path = real_file("nano_dy.root")
    run_menu(MENU, [path], tmp_path / "out")
    with uproot.open(path) as before, uproot.open(tmp_path / "out" / "tree.root") as after:
        for name in ("genEventCount_", "genEventSumw_", "LHEPdfSumw_"):
            assert after["Runs"][name].array().to_list() == before["Runs"][name].array().to_list()


@pytest.mark.parametrize("compression", ["lz4", "zstd", "zlib", "lzma"])
def test_streams_are_compressed_as_the_menu_says(compression, nano, tmp_path):
    streams = {"s": {"paths": ["p"], "keep": "all", "compression": compression}}
    paths = {"p": {"steps": ["MET_pt >= 0"]}}
    menu = menu_of(Menu.model_validate({"menu": "m", "paths": paths, "streams": streams}))
    run_menu(menu, [nano("a.root", 1)], tmp_path / "out")
    with uproot.open(tmp_path / "out" / "s.root") as file:
        assert file.file.compression.name.lower() == compression
        assert file["Events"]["MET_pt"].array().to_list() == list(range(30))
    if compression in ("zlib", "lzma"):
        streams["s"]["format"] = "parquet"
        with pytest.raises(ValueError, match=f"by zstd or lz4, not {compression}"):
            Menu.model_validate({"menu": "m", "paths": paths, "streams": streams})


def test_a_broken_side_tree_costs_no_event(nano, tmp_path):
    path = nano("a.root", 1)
    with uproot.open(path) as file:
        key = file.key("Runs")
        first, last = key.fSeekKey + key.fKeylen, key.fSeekKey + key.fNbytes
    data = bytearray(path.read_bytes())
    data[first:last] = bytes(last - first)
    path.write_bytes(data)
    summary = run_menu(MENU, [path], tmp_path / "out")
    assert summary.counts.accepted == 9
    assert f"the trees Runs and LuminosityBlocks of {path} are lost" in summary.side_tree_problems[0]
