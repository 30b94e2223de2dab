"""Jets without constituents have no score: never a number, never a fault, and distinguished in every output."""

import json

import awkward as ak
import numpy as np
import pyarrow.parquet as pq
import pytest
import uproot
from click.testing import CliRunner

import tamis
from tamis.cli.score import command
from tamis.events import Events, is_missing, write_events
from tamis.trigger import Menu, background_scores, load_menu, menu_of, run_menu, score_batch

EMPTY = {1: 0, 3: 0, 5: 1}  # events -> the jet whose constituents are taken away


@pytest.fixture
def events(jet_events):
    """Return events in which some jets have no constituents."""
    whole = jet_events(30)
    jet = whole["FatJetPFCands_jetIdx"]
    numbers = np.arange(30)
    gone = ak.zeros_like(jet, dtype=bool)
    for event, index in EMPTY.items():
        gone = gone | ((numbers == event) & (jet == index))
    columns = {name: whole[name] for name in whole.array.fields}
    for name in ("FatJetPFCands_jetIdx", "FatJetPFCands_pFCandsIdx"):
        columns[name] = columns[name][~gone]
    return Events.of(columns)


MENU = """
menu: missing
stages:
  anomaly: {{bundle: {bundle}}}
  best: {{define: {{best: "max(anomaly_score)", double: "anomaly_score * 2"}}}}
paths:
  every: {{steps: ["count(FatJet_pt) > 0", "any(anomaly_score > 0) or missing(best) or any(missing(double))"]}}
  low: {{steps: ["any(anomaly_score < 1e9)"]}}
  none: {{steps: ["any(missing(anomaly_score))"]}}
  not_high: {{steps: [count(FatJet_pt) > 0, "not any(anomaly_score > 0)"]}}
streams:
  table: {{paths: [every, low, none, not_high], format: parquet, keep: [FatJet_pt]}}
  tree: {{paths: [every], keep: [FatJet_pt]}}
"""


@pytest.fixture
def scores(events, jet_bundle):
    with tamis.open(jet_bundle) as session:
        return score_batch(session, events)


@pytest.mark.parametrize("mode", ["batch", "event"])
def test_a_run_never_scores_a_jet_without_constituents(mode, events, scores, jet_bundle, tmp_path):
    write_events(tmp_path / "in.root", events)
    (tmp_path / "menu.yaml").write_text(MENU.format(bundle=jet_bundle.path))
    summary = run_menu(load_menu(tmp_path / "menu.yaml"), [tmp_path / "in.root"], tmp_path / "out", mode=mode)
    assert summary.counts.debug == 0
    table = pq.read_table(tmp_path / "out" / "decisions.parquet")
    jets = ak.num(events["FatJet_pt"]).to_numpy()
    leading = {event: index for event, index in EMPTY.items() if jets[event] > index}
    empty = scores.empty
    assert empty.any()
    with_score = np.bincount(scores.identity[~empty, 2].astype(int), minlength=30) > 0
    without = np.bincount(scores.identity[empty, 2].astype(int), minlength=30) > 0
    assert set(np.flatnonzero(without)) <= set(leading)
    assert table["HLT_every"].to_pylist() == (jets > 0).tolist()
    assert table["HLT_low"].to_pylist() == with_score.tolist()
    assert table["HLT_none"].to_pylist() == without.tolist()
    assert table["HLT_not_high"].to_pylist() == ((jets > 0) & ~with_score).tolist()

    written = pq.read_table(tmp_path / "out" / "table.parquet")
    flat = [score for event in written["anomaly_score"].to_pylist() for score in event]
    assert [score is None for score in flat] == empty.tolist()
    assert [value is None for event in written["double"].to_pylist() for value in event] == empty.tolist()
    with uproot.open(tmp_path / "out" / "tree.root") as file:
        tree = ak.flatten(file["Events"]["anomaly_score"].array()).to_numpy()
    assert is_missing(tree).tolist() == empty.tolist()
    np.testing.assert_array_equal(tree[~empty], scores.outputs["score"][~empty])


@pytest.mark.parametrize("stream", ["table.parquet", "tree.root"])
def test_missing_scores_are_read_again(stream, events, scores, jet_bundle, tmp_path):
    write_events(tmp_path / "in.root", events)
    (tmp_path / "menu.yaml").write_text(MENU.format(bundle=jet_bundle.path))
    run_menu(load_menu(tmp_path / "menu.yaml"), [tmp_path / "in.root"], tmp_path / "out")
    paths = {
        "again": {"steps": ["any(missing(anomaly_score))"]},
        "score": {"steps": ["any(anomaly_score > 0)"]},
    }
    streams = {"all": {"paths": list(paths)}}
    menu = menu_of(Menu.model_validate({"menu": "again", "paths": paths, "streams": streams}))
    for mode in ("batch", "event"):
        again = run_menu(menu, [tmp_path / "out" / stream], tmp_path / mode, mode=mode)
        assert again.counts.debug == 0
        assert again.counts.paths["again"] == len(set(scores.identity[scores.empty, 2]))


def test_score_writes_null_and_counts_them(events, scores, jet_bundle, tmp_path):
    write_events(tmp_path / "in.root", events)
    arguments = [str(jet_bundle.path), str(tmp_path / "in.root"), "-o", str(tmp_path / "s.parquet")]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    assert f"{scores.empty.sum()} rows without input" in result.output
    table = pq.read_table(tmp_path / "s.parquet")
    for name in ("score", "output.event"):
        assert [value is None for value in table[name].to_pylist()] == scores.empty.tolist()
    facts = json.loads(CliRunner().invoke(command, [*arguments, "--json"]).stdout)
    assert facts["rows_without_input"] == scores.empty.sum()


def test_a_working_point_counts_only_jets_with_a_score(events, scores, jet_bundle, tmp_path):
    write_events(tmp_path / "in.root", events)
    with tamis.open(jet_bundle) as session:
        found = background_scores(session, [str(tmp_path / "in.root")])
        other = background_scores(session, [str(tmp_path / "in.root")], aliases={"PFCands_pt": "PFCands_eta"})
    np.testing.assert_array_equal(found, scores.outputs["score"][~scores.empty])
    assert len(other) == len(found)
    assert np.abs(other).max() < found.min()  # a sum of pseudorapidities instead of momenta
