"""Rates of a menu on samples with known answers."""

from __future__ import annotations

import json
import textwrap

import awkward as ak
import numpy as np
import pytest

from tamis._base import DataError, UsageError
from tamis.bundle import Bundle
from tamis.events import Events, write_events
from tamis.measure import compare_models, compare_runs, load_samples, rate_hz, study_rates, write_tuned
from tamis.trigger import load_menu, run_menu

MENU = """
menu: rates
thresholds: {tight: 50}
paths:
  met:
    steps:
      - MET_pt > threshold('tight')
  soft:
    steps: [MET_pt > 20]
    prescale: 4
  jets:
    steps: [count(Jet_pt > 30) >= 1, MET_pt > threshold('tight')]
streams:
  all: {paths: [met, soft, jets]}
"""


def events(met, jets=None, seed=1):
    n = len(met)
    pt = ak.unflatten(
        np.full(n, 40.0, "f4") if jets is None else np.where(jets, 40, 20).astype("f4"), np.ones(n, int)
    )
    return Events.of(
        {
            "run": np.full(n, seed, np.uint32),
            "luminosityBlock": np.ones(n, np.uint32),
            "event": np.arange(n, dtype=np.uint64),
            "MET_pt": np.asarray(met, np.float32),
            "Jet_pt": pt,
            "w": np.where(np.arange(n) % 2 == 0, 1.0, 3.0).astype("f4"),
        }
    )


@pytest.fixture
def study(tmp_path):
    rng = np.random.default_rng(3)
    qcd, top = rng.exponential(20, 40_000), rng.exponential(60, 5_000)
    write_events(tmp_path / "qcd.root", events(qcd, rng.random(40_000) < 0.5))
    write_events(tmp_path / "top.root", events(top, seed=2))
    (tmp_path / "menu.yaml").write_text(textwrap.dedent(MENU))
    (tmp_path / "samples.yaml").write_text(
        "samples:\n  qcd: {files: [qcd.root], cross_section_pb: 999}\n  top: {files: [top.root], cross_section_pb: 1}\n"
    )
    return load_menu(tmp_path / "menu.yaml"), load_samples(tmp_path / "samples.yaml"), qcd, top


def test_rates_match_counting_by_hand(study):
    menu, samples, qcd, top = study
    record = study_rates(menu, samples, input_hz=rate_hz("100kHz"))
    met, soft, jets = record.paths
    expected = 1e5 * (0.999 * np.mean(qcd.astype("f4") > 50) + 0.001 * np.mean(top.astype("f4") > 50))
    assert met.rate.hz == pytest.approx(expected, rel=1e-6)
    assert met.rate.error_hz == pytest.approx(1e5 * 0.999 * np.sqrt(0.082 * 0.918 / 40_000), rel=0.05)
    assert soft.rate.hz == pytest.approx(
        1e5 / 4 * (0.999 * np.mean(qcd.astype("f4") > 20) + 0.001 * np.mean(top > 20)), rel=1e-3
    )
    assert met.efficiency["top"] == pytest.approx(np.mean(top > 50), abs=1e-3)
    assert jets.unique.hz == 0.0  # the path met accepts all these events too
    assert record.overlap_hz[0][2] == pytest.approx(jets.rate.hz)
    assert record.overlap_hz[0][1] == pytest.approx(met.rate.hz / 4)
    assert record.total.hz == pytest.approx(met.rate.hz + soft.rate.hz - met.rate.hz / 4, rel=1e-6)
    assert record.correlation[0][0] == pytest.approx(1.0)
    assert record.debug.upper_hz == pytest.approx(-np.log(0.05) * 1e5 * 0.999 / 40_000, rel=1e-3)


def test_a_prescale_lowers_the_limit_and_rounding_is_not_an_error(study, tmp_path):
    _, samples, _, _ = study
    (tmp_path / "control.yaml").write_text(
        textwrap.dedent("""
        menu: control
        paths:
          never: {steps: [MET_pt > 1e9], prescale: 20}
          rarely: {steps: [MET_pt > 1e9], prescale: 50}
          always: {steps: [MET_pt >= 0], prescale: 7}
        streams:
          none: {paths: [never, rarely]}
          all: {paths: [always]}
        """)
    )
    record = study_rates(load_menu(tmp_path / "control.yaml"), samples, input_hz=1e5)
    never, rarely, always = record.paths
    limit = -np.log(0.05) * 1e5 * 0.999 / 40_000
    assert never.rate.upper_hz == pytest.approx(limit / 20)
    assert never.unique.upper_hz == pytest.approx(limit / 20)
    assert rarely.rate.upper_hz == pytest.approx(limit / 50)
    assert record.streams["none"].upper_hz == pytest.approx(limit * (1 - 19 / 20 * 49 / 50))
    assert always.rate.hz == pytest.approx(1e5 / 7)
    assert always.rate.error_hz == 0.0


def test_event_weights_are_used(study, tmp_path):
    menu, _, qcd, _ = study
    (tmp_path / "weighted.yaml").write_text(
        "samples:\n  qcd: {files: [qcd.root], cross_section_pb: 5, weight: w}\n"
    )
    record = study_rates(menu, load_samples(tmp_path / "weighted.yaml"), input_hz=1000.0)
    weight = np.where(np.arange(len(qcd)) % 2 == 0, 1.0, 3.0)
    assert record.paths[0].rate.hz == pytest.approx(1000 * np.average(qcd > 50, weights=weight), rel=1e-4)


def test_tuned_threshold_gives_the_target_rate(study, tmp_path):
    menu, samples, _, _ = study
    record = study_rates(menu, samples, input_hz=1e5, targets=["met=500Hz", "jets=100Hz"])
    tuned, jets = record.tuned
    assert tuned.rate.hz == pytest.approx(500, rel=0.02)
    assert tuned.rate.hz <= 500
    assert tuned.low < tuned.threshold < tuned.high
    exact = 20 * np.log(
        0.999 * 1e5 / 500
    )  # of the exponential QCD spectrum; the few top events shift it a little
    assert tuned.low < exact < tuned.high + 3
    assert jets.rate.hz == pytest.approx(100, rel=0.1)
    assert all(a[0] >= b[0] and a[1] <= b[1] for a, b in zip(tuned.curve, tuned.curve[1:], strict=False))
    write_tuned(menu, record.model_copy(update={"tuned": record.tuned[:1]}), tmp_path / "out")
    again = study_rates(load_menu(tmp_path / "out" / "menu.yaml"), samples, input_hz=1e5)
    assert again.paths[0].rate.hz == pytest.approx(tuned.rate.hz, rel=1e-9)


def test_targets_that_cannot_be_reached_are_rejected(study):
    menu, samples, _, _ = study
    with pytest.raises(DataError, match=r"Hz at most, even without its threshold; the target is 1.00 MHz"):
        study_rates(menu, samples, input_hz=1e5, targets=["met=1MHz"])
    with pytest.raises(DataError, match=r"one simulated event represents .* simulate at least"):
        study_rates(menu, samples, input_hz=1e5, targets=["met=10mHz"])
    with pytest.raises(UsageError, match="no path 'mat'; did you mean 'met'"):
        study_rates(menu, samples, input_hz=1e5, targets=["mat=1Hz"])
    with pytest.raises(UsageError, match="the path soft cannot be tuned"):
        study_rates(menu, samples, input_hz=1e5, targets=["soft=1Hz"])
    with pytest.raises(UsageError, match="'1 GHz' is not a rate"):
        rate_hz("1 GHz")


def test_turn_on_rises_at_the_threshold(study):
    menu, samples, _, _ = study
    (found,) = study_rates(menu, samples, input_hz=1e5, turn_ons=["met=MET_pt"]).turn_ons
    middle = (np.array(found.edges[1:]) + np.array(found.edges[:-1])) / 2
    efficiency = np.array(found.efficiency["top"])
    assert np.nanmax(efficiency[middle < 40]) == 0.0
    assert np.nanmin(efficiency[middle > 70]) == 1.0


def test_roc_of_a_path_matches_that_of_its_quantity(tmp_path, study):
    _, _, qcd, top = study
    (tmp_path / "signal.yaml").write_text(
        "samples:\n  qcd: {files: [qcd.root], cross_section_pb: 1}\n"
        "  top: {files: [top.root], kind: signal}\n"
    )
    record = study_rates(
        load_menu(tmp_path / "menu.yaml"), load_samples(tmp_path / "signal.yaml"), input_hz=1e5
    )
    curve = next(c for c in record.rocs if c.path == "met")
    rate, found = np.array(curve.rate_hz), np.array(curve.efficiency["top"])
    assert (np.diff(rate) > 0).all()
    assert (np.diff(found) >= 0).all()
    assert rate[-1] == pytest.approx(1e5)
    assert found[-1] == pytest.approx(1.0)
    assert curve.now_hz == pytest.approx(1e5 * (qcd > 50).mean(), rel=1e-6)
    assert curve.now["top"] == pytest.approx((top > 50).mean(), rel=1e-6)
    for at in (1e2, 1e3, 1e4):
        place = np.searchsorted(rate, at, "right") - 1
        accepted = round(rate[place] / 1e5 * len(qcd))
        # the threshold is between this background event and the next
        edge, following = np.sort(qcd)[-accepted], np.sort(qcd)[-accepted - 1]
        assert (top >= edge).mean() - 1e-9 <= found[place] <= (top > following).mean() + 1e-9
    assert not study_rates(
        load_menu(tmp_path / "menu.yaml"), load_samples(tmp_path / "samples.yaml"), input_hz=1.0
    ).rocs


def test_unchanged_path_gains_and_loses_no_events(study):
    menu, samples, _, _ = study
    changes = compare_models(menu, menu, samples, input_hz=1e5)
    assert changes
    for change in changes:
        assert change.gained_hz == change.lost_hz == 0.0
        assert not any({**change.gained, **change.lost}.values()), change


def test_tuned_threshold_is_written_as_a_working_point_of_the_bundle(tmp_path, jet_bundle, jet_file):
    (tmp_path / "menu.yaml").write_text(
        f"menu: jets\nstages:\n  odd: {{bundle: {jet_bundle.path}}}\npaths:\n  odd:\n    steps:\n"
        f"      - max(odd_score) > threshold('odd', 'tight')\n"
        "streams:\n  all: {paths: [odd]}\n"
    )
    (tmp_path / "samples.yaml").write_text(
        f"samples:\n  qcd: {{files: ['{jet_file('jets.root', 200)}'], cross_section_pb: 1}}\n"
    )
    menu, samples = load_menu(tmp_path / "menu.yaml"), load_samples(tmp_path / "samples.yaml")
    record = study_rates(menu, samples, input_hz=100.0, targets=["odd=20Hz"])
    bundle, path = write_tuned(menu, record, tmp_path / "out")
    points = {point.name: point for point in Bundle.open(bundle).manifest.working_points}
    assert points["odd-20Hz"].threshold == record.tuned[0].threshold
    again = study_rates(load_menu(path), samples, input_hz=100.0)
    assert again.paths[0].rate.hz == pytest.approx(record.tuned[0].rate.hz)
    (same,) = compare_models(menu, load_menu(path), samples, input_hz=100.0)
    assert same.gained_hz == same.lost_hz == 0.0


def test_runs_are_compared_event_by_event(study, tmp_path):
    menu, _, qcd, _ = study
    run_menu(menu, [tmp_path / "qcd.root"], tmp_path / "old")
    (tmp_path / "menu.yaml").write_text(
        (tmp_path / "menu.yaml").read_text().replace("tight: 50", "tight: 60")
    )
    run_menu(load_menu(tmp_path / "menu.yaml"), [tmp_path / "qcd.root"], tmp_path / "new")
    found = compare_runs(tmp_path / "old", tmp_path / "new")
    met = found.paths[0]
    lost = np.flatnonzero((qcd.astype("f4") > 50) & (qcd.astype("f4") <= 60))
    assert (met.gained, met.lost) == (0, len(lost))
    assert met.lost_events[:3] == tuple(f"1:1:{event}" for event in lost[:3])
    assert found.events == 40_000
    assert set(found.outcomes) == {"accepted -> rejected"}
    json.loads(found.model_dump_json())
    assert "writing" in found.us_per_event
    assert not {"starting", "joining streams"} & set(found.us_per_event)  # once per run
    with pytest.raises(UsageError, match="is not the output folder of a run"):
        compare_runs(tmp_path / "old", tmp_path / "nowhere")
