"""Alarms come before their block is complete, once for each fault, and are in the journal."""

from __future__ import annotations

from functools import reduce

import awkward as ak
import numpy as np
import pytest
from tests.monitor.conftest import write_stream

from tamis.events import Events, open_writer
from tamis.monitor.alarms import find_alarms
from tamis.monitor.features import observed, without_steps
from tamis.monitor.journal import Journal
from tamis.monitor.run import monitor_stream
from tamis.monitor.stream import stream_blocks
from tamis.monitor.sums import block_sums


def alarms_of(scores, *, lasting=False):
    scores = np.asarray(scores, float)
    found = find_alarms(
        np.arange(len(scores)), scores, np.arange(len(scores))[:, None], 10.0, 5.0, lasting=lasting
    )
    return [(one.first, one.last, one.lasts) for one in found]


def test_one_high_step_or_two_lower_ones_raise_an_alarm():
    quiet = [1.0] * 20
    assert alarms_of(quiet) == alarms_of([]) == []
    assert alarms_of([*quiet, 11, *quiet]) == [(20, 20, False)]
    assert alarms_of([*quiet, 7, *quiet]) == []
    assert alarms_of([*quiet, 7, 6, *quiet]) == [(20, 21, False)]
    assert alarms_of([11]) == [(0, 0, False)]


def test_an_alarm_lasts_until_the_scores_are_low_for_some_seconds():
    high, quiet = [11] * 4, [1.0] * 20
    assert alarms_of([*quiet, *high, 1, 1, *high, *quiet]) == [(20, 29, False)]
    assert alarms_of([*quiet, *high, *quiet, *high]) == [(20, 23, False), (44, 47, False)]
    assert alarms_of([1, *high, *quiet], lasting=True) == [(1, 4, True)]
    assert alarms_of([*quiet, *high], lasting=True) == [(20, 23, False)]


@pytest.fixture(scope="module")
def tripped(tmp_path_factory):
    """Rows up to some seconds after a trip of the high voltage, the block of which is not complete; and the trip."""
    folder = tmp_path_factory.mktemp("tripped")
    plan = write_stream(folder / "whole", hours=24.0, faults="hv-trip", fault_rate=2.0, seed=5)
    for fault in plan.faults:
        block = int(np.searchsorted(plan.blocks.begin_s, fault.begin_s, side="right")) - 1
        second = int(fault.begin_s - plan.blocks.begin_s[block])
        if 5 <= second <= 45 and plan.blocks.run[block - 1] == plan.blocks.run[block]:
            break
    else:
        pytest.fail("no trip within a block: take another seed")
    key = int(plan.blocks.run[block]), int(plan.blocks.number[block])
    (folder / "parts").mkdir()
    pieces = [chunk for path in sorted((folder / "whole").glob("*.parquet")) for chunk in rows_of(path)]
    for number, rows in enumerate(pieces):
        if rows["run"][0] > key[0]:
            break
        own = rows["run"] == key[0]
        before = (rows["run"] < key[0]) | (own & (rows["luminosityBlock"] < key[1]))
        begun = own & (rows["luminosityBlock"] == key[1]) & (rows["second"] <= second + 6)
        with open_writer(folder / "parts" / f"{number:03d}.parquet") as writer:
            writer.write(Events(rows[before | begun]))
    return folder / "parts", key, second, fault


def rows_of(path):
    return [ak.from_parquet(path)]


def test_a_trip_is_told_before_its_block_is_complete(tripped, monitor_bundle, tmp_path):
    parts, key, second, fault = tripped
    told, judged = [], []
    monitor = monitor_stream(
        parts, monitor_bundle, tmp_path / "out", follow=True, idle_s=0.5, alarmed=lambda one: told.append((one, len(judged))), watched=judged.append
    )  # fmt: skip
    monitor.journal.close()
    own = [(one, before) for one, before in told if (one.run, one.block) == key]
    assert len(own) == 1
    alarm, before = own[0]
    assert second <= alarm.second <= second + 2
    assert alarm.region == ("EMBC", "EMBA", "EMECC", "EMECA")[fault.region]
    assert judged[before].verdict.key == key  # after the alarm
    assert judged[before].verdict.state == "bad"
    journal = Journal(tmp_path / "out")
    assert alarm in list(journal.alarms(key))
    journal.close()


def test_a_file_ends_a_block(tripped, monitor_bundle, tmp_path):
    parts, key, *_ = tripped
    stream = tmp_path / "stream"
    stream.mkdir()
    for path in parts.iterdir():
        (stream / path.name).symlink_to(path)
    seen = []

    def stop(judged):
        seen.append(judged.verdict.key)
        if judged.verdict.key == key:
            raise KeyboardInterrupt

    (stream / f"run{key[0]}_ls{key[1]:04d}_EoLS.jsn").write_text("{}")
    with pytest.raises(KeyboardInterrupt):  # nothing else ends a stream that is followed for ever
        monitor_stream(stream, monitor_bundle, tmp_path / "out", follow=True, watched=stop)
    assert seen[-1] == key


def test_a_block_without_some_seconds_is_as_if_they_had_never_been(tripped, watch):
    parts, *_ = tripped
    rows = rows_of(min(parts.iterdir()))[0]
    rows = rows[rows["luminosityBlock"] == rows["luminosityBlock"][0]]
    left_out = np.zeros(len(rows), bool)
    left_out[[3, 17]] = True
    whole, expected = (
        observed(reduce(lambda a, b: a.merged(b), block_sums(Events(one), watch)), watch)
        for one in (rows, rows[~left_out])
    )
    found = without_steps(whole, watch, left_out)
    assert found.events == expected.events
    assert found.step.tolist() == expected.step.tolist()
    np.testing.assert_allclose(found.features, expected.features, rtol=1e-3)
    assert next(stream_blocks(parts, watch)).key == whole.key
