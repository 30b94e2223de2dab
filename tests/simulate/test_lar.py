"""The stream of a calorimeter: its numbers are those of the table it is made from, and faults do what their truth says."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest

from tamis.simulate.lar import LarStream, plan_stream, simulate_lar
from tamis.simulate.lar.regions import REGIONS


def rows_of(plan, workers=1):
    pieces = [piece.array for piece in simulate_lar(plan, workers)]
    whole = {name: ak.concatenate([piece[name] for piece in pieces]) for name in pieces[0].fields}
    return {name: ak.to_numpy(column) if column.ndim == 1 else column for name, column in whole.items()}


def means(rows, region, select=slice(None)):
    """Return clusters of an event, mean and width of Q / 65535, and of tau in ns."""
    n, q, q2, tau, tau2 = (
        rows[f"{region}_{name}"][select].sum(dtype=float) for name in ("n", "Q", "Q2", "tau", "tau2")
    )
    events = rows["events"][select].sum() if "events" in rows else len(rows["event"][select])
    mean, time = q / n / 65535, tau / n * 0.01
    return n / events, mean, np.sqrt(q2 / n / 65535**2 - mean**2), time, np.sqrt(tau2 / n * 1e-4 - time**2)


@pytest.fixture(scope="module")
def calm():
    return {
        detail: rows_of(plan_stream(LarStream(hours=hours, faults="none", detail=detail, seed=7)))
        for detail, hours in (("clusters", 0.001), ("events", 0.03), ("steps", 1.0))
    }


@pytest.mark.parametrize("detail", ["clusters", "events", "steps"])
def test_clusters_are_those_of_the_table(calm, detail):
    mu = 61.0  # at the begin of a fill
    for region, base, slope, tail in (("EMBC", 40, 9, 1.0), ("EMECA", 40, 14, 1.7)):
        number, q, q_width, tau, tau_width = means(calm[detail], region)
        share = tail * (0.03 + 0.0004 * mu)
        mean = (1 - share) * 0.012 + share / 4
        assert number == pytest.approx(base + slope * mu, rel=2e-3)
        assert q == pytest.approx(mean, rel=0.025)  # a run is off by up to 1 %, and wanders
        assert q_width == pytest.approx(np.sqrt((1 - share) * 2 * 0.012**2 + share / 10 - mean**2), rel=0.025)
        assert tau == pytest.approx(-0.05 - 0.004 * mu, abs=0.02)
        assert tau_width == pytest.approx(3 + 0.05 * mu, rel=2e-3)


def test_single_clusters_are_those_of_the_sums(calm):
    rows = calm["clusters"]
    assert len(np.unique(rows["event"])) == len(rows["event"]) == pytest.approx(3600, rel=0.1)
    assert (np.diff(rows["second"]) >= 0).all()
    for region in REGIONS:
        q, tau = (ak.values_astype(rows[f"{region}_cluster{name}"], np.int64) for name in ("Q", "Tau"))
        assert ak.num(q).to_list() == rows[f"{region}_n"].tolist()
        for name, values in (("Q", q), ("Q2", q**2), ("tau", tau), ("tau2", tau**2)):
            assert ak.sum(values, axis=1).to_list() == rows[f"{region}_{name}"].tolist()
        hot = (q > 0.4 * 65535) & (abs(tau) > 1500)
        assert ak.sum(hot, axis=1).to_list() == rows[f"{region}_hot"].tolist()


def test_single_clusters_are_for_minutes_and_do_not_depend_on_workers():
    from tamis._base import UsageError

    with pytest.raises(UsageError, match="too many"):
        plan_stream(LarStream(hours=2.0, detail="clusters"))
    plan = plan_stream(
        LarStream(
            hours=0.0015, faults="noise-burst", fault_rate=500.0, detail="clusters", seed=4, mode="pbpb"
        )
    )
    assert plan.faults
    one, two = rows_of(plan), rows_of(plan, workers=2)
    assert all(ak.array_equal(one[name], two[name]) for name in one)
    most = max(int(one[f"{region}_hot"].max()) for region in REGIONS)
    assert most > 10  # clusters of a burst


def test_events_and_steps_fluctuate_alike(calm):
    events, steps = calm["events"], calm["steps"]
    assert len(events["event"]) == pytest.approx(108_000, rel=0.02)
    assert len(steps["event"]) == 3600
    second = np.floor(events["second"]) + 1000 * events["luminosityBlock"]
    summed = [
        ak.to_numpy(ak.sum(ak.unflatten(events[name], ak.run_lengths(second)), axis=1))
        for name in ("EMBA_n", "EMBA_Q")
    ]
    of_events, of_steps = (
        np.std(q / n) for q, n in (summed[::-1], (steps["EMBA_Q"][:100], steps["EMBA_n"][:100]))
    )
    assert of_events == pytest.approx(of_steps, rel=0.35)


def test_ions_share_their_centrality(calm):
    rows = rows_of(plan_stream(LarStream(mode="pbpb", hours=0.01, faults="none", seed=2)))
    barrel, endcap = rows["EMBC_n"], rows["EMECA_n"]
    assert np.corrcoef(barrel, endcap)[0, 1] > 0.98
    assert barrel.mean() == pytest.approx(1995 / np.log(400), rel=0.05)
    assert np.median(barrel) == pytest.approx(100, rel=0.1)  # the middle of the logarithm
    assert set(rows["beamMode"]) == {2}
    assert set(calm["steps"]["beamMode"]) == {1}


def test_the_result_depends_on_the_seed_alone():
    streams = [
        rows_of(plan_stream(LarStream(hours=5.0, detail="steps", seed=seed)), workers)
        for seed, workers in ((1, 1), (1, 2), (2, 1))
    ]
    for name, column in streams[0].items():
        np.testing.assert_array_equal(column, streams[1][name])
    assert not np.array_equal(streams[0]["EMBA_Q"][:100], streams[2]["EMBA_Q"][:100])


@pytest.mark.parametrize(
    ("kind", "place", "effect"),
    [
        ("coverage", 0, lambda strength: -strength),  # clusters
        ("hot-tower", 0, lambda strength: strength),
        ("gain-step", 1, lambda strength: strength),  # mean Q
        ("wide-times", 4, lambda strength: strength),
        ("noisy-channel", 1, lambda strength: strength * (0.8 - 0.03) / 0.03),
        ("hv-trip", 0, lambda strength: -0.3 * strength),
    ],
)
def test_a_fault_does_what_it_says(kind, place, effect):
    plan = plan_stream(LarStream(hours=4.0, faults=kind, fault_rate=2.0, detail="steps", seed=3))
    fault = next(one for one in plan.faults if 600 < one.begin_s < 10_000)
    rows = rows_of(plan)
    begin = plan.blocks.begin_s[0]
    at_s = begin + np.arange(len(rows["event"]))  # one fill
    region = REGIONS[fault.region]
    others = [one for one in plan.faults if one is not fault and one.region == fault.region]
    quiet = ~np.logical_or.reduce([np.zeros(len(at_s), bool), *(one.share(at_s) != 0 for one in others)])
    during = (at_s > fault.begin_s) & (at_s < min(fault.begin_s + 120, fault.end_s)) & quiet
    before = (at_s < fault.begin_s) & (at_s > fault.begin_s - 600) & quiet
    assert before.sum() > 60 < during.sum() + 1
    change = means(rows, region, during)[place] / means(rows, region, before)[place] - 1
    expected = effect(fault.share(at_s[during]).mean())
    assert change == pytest.approx(expected, abs=0.35 * abs(expected) + 0.012)


def test_a_burst_is_in_the_events_of_its_milliseconds():
    plan = plan_stream(LarStream(hours=0.15, faults="noise-burst", fault_rate=30.0, seed=5))
    rows, bursts = rows_of(plan), plan.faults
    assert bursts
    at_s = plan.blocks.begin_s[np.searchsorted(plan.blocks.number, rows["luminosityBlock"])] + rows["second"]
    assert (np.diff(at_s) >= 0).all()
    for burst in bursts:
        inside = (at_s >= burst.begin_s) & (at_s <= burst.end_s)
        region = REGIONS[burst.region]
        assert inside.sum() >= 2
        q = rows[f"{region}_Q"] / 65535
        assert q[inside].max() > q[~inside].mean() + 0.4 * burst.strength
