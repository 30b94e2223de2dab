"""Slow drifts never raise an alarm; a small step does at once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tamis.monitor.features import observed
from tamis.monitor.judges import open_judge
from tamis.monitor.sums import block_sums
from tamis.monitor.training import tail_interval, tail_limit
from tamis.simulate.lar import LarStream, plan_stream, simulate_lar
from tamis.simulate.lar.faults import StreamFault
from tamis.simulate.lar.sums import SlowChanges

APART = 40  # blocks between two steps


def verdicts(plan, watch, bundle):
    judge = open_judge(bundle)
    pieces = (block for piece in simulate_lar(plan) for block in block_sums(piece, watch))
    return [judge.judge(observed(block, watch)) for block in pieces]  # no piece breaks a block


def test_the_interval_of_a_limit_holds_what_good_blocks_exceed():
    random = np.random.default_rng(1)
    true = float(1e-3 ** -(1 / 4))  # of a Pareto distribution with the index 4, at one in a thousand
    inside = 0
    for _ in range(50):
        scores = random.pareto(4, 20_000) + 1
        low, high = tail_interval(scores, 1e-3)
        assert low < tail_limit(scores, 1e-3) < high
        inside += low < true < high
    assert inside >= 40


@pytest.fixture(scope="module", params=["pp", "pbpb"])
def quiet(request):
    return plan_stream(LarStream(request.param, 20.0, "none", 1.0, "steps", 71))


def test_a_drift_of_a_percent_a_day_stays_good(quiet, watch, monitor_bundle):
    days = quiet.blocks.begin_s[:, None] / 86_400
    q = quiet.slow.q * (1 + 0.01 * days * np.array([1, -1, 1, -1]))
    found = verdicts(replace(quiet, slow=SlowChanges(q, quiet.slow.tau_ns)), watch, monitor_bundle)
    assert [one.key for one in found if one.state == "bad"] == []
    assert sum(one.state == "good" for one in found) > 1000


def test_a_step_of_three_percent_is_found_within_two_blocks(quiet, watch, monitor_bundle):
    run, begin = quiet.blocks.run, quiet.blocks.begin_s
    steps = [k for k in range(APART, len(run) - APART, APART) if run[k - 20] == run[k] == run[k + 12]]
    faults = [
        StreamFault("gain-step", number % 4, float(begin[k] + 10), float(begin[k + 10]), 0.03)
        for number, k in enumerate(steps)
    ]
    found = verdicts(replace(quiet, faults=faults), watch, monitor_bundle)
    assert len(steps) >= 10
    for k in steps:
        assert "bad" in (found[k].state, found[k + 1].state)
        assert [one.state for one in found[k - 5 : k]] == ["good"] * 5
