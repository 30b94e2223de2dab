"""A menu whose model runs on a server: the decisions do not depend on failures of the server."""

from __future__ import annotations

import threading

import pyarrow.parquet as pq
import pytest

from tamis._base import TamisError
from tamis.bundle import locate
from tamis.engines import Remote
from tamis.events import open_writer
from tamis.simulate import simulate
from tamis.trigger import Menu, menu_of, run_menu

MENU = Menu.model_validate(
    {
        "menu": "far",
        "stages": {"anomaly": {"bundle": "conv-vae"}},
        "paths": {"odd": {"steps": ["max(anomaly_score) > threshold('anomaly', 'background-0.01')"]}},
        "streams": {"odd": {"paths": ["odd"], "format": "parquet"}},
    }
)


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    path = tmp_path_factory.mktemp("events") / "qcd.root"
    with open_writer(path) as writer:
        for batch in simulate("qcd", 120, seed=5):
            writer.write(batch)
    return path


def decisions(folder):
    return pq.read_table(folder / "decisions.parquet")


def test_decisions_are_the_same_when_the_server_dies(start_server, events, tmp_path):
    run_menu(menu_of(MENU), [events], tmp_path / "here", unit_events=10)
    server = start_server(locate("conv-vae"))
    remote = Remote((server.address,), fallback="onnxruntime", timeout_s=20)
    run_menu(menu_of(MENU), [events], tmp_path / "there", unit_events=10, remote=remote)
    assert decisions(tmp_path / "there").equals(decisions(tmp_path / "here"))
    answered = server.service.find("conv-vae").statistics.success.count
    assert answered > 10
    dying = threading.Timer(0.4, server.close)
    dying.start()
    run_menu(menu_of(MENU), [events], tmp_path / "dying", unit_events=1, workers=2, remote=remote)
    dying.join()
    assert decisions(tmp_path / "dying").equals(decisions(tmp_path / "here"))


def test_run_without_a_fallback_stops_and_resumes_when_a_server_is_back(start_server, events, tmp_path):
    server = start_server(locate("conv-vae"))
    server.close()
    with pytest.raises(TamisError, match="no server answered for conv-vae"):
        run_menu(menu_of(MENU), [events], tmp_path / "out", remote=Remote((server.address,)))
    other = start_server(locate("conv-vae"))
    summary = run_menu(
        menu_of(MENU), [events], tmp_path / "out", remote=Remote((other.address,), timeout_s=20), resume=True
    )
    assert summary.counts.balanced
    assert summary.counts.entered == 120
