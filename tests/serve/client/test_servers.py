"""The choice among several servers."""

from __future__ import annotations

from collections import Counter

from tamis.serve.client.servers import ServerPool


def test_round_robin_shares_the_load_of_a_dead_server_among_all_others():
    servers = ServerPool(("a:1", "b:1", "c:1", "d:1"))
    assert Counter(servers.in_turn()[0].address for _ in range(40)) == {f"{x}:1": 10 for x in "abcd"}
    for _ in range(20):
        servers.all[1].failed("gone")
    calls = Counter(servers.in_turn()[0].address for _ in range(30))
    assert calls == {"a:1": 10, "c:1": 10, "d:1": 10}
    assert len(servers.in_turn()) == 3
    for one in servers.all:
        one.failed("gone")
    assert servers.in_turn() == []
