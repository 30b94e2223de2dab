"""The closed formula of a shared coprocessor: how many clients one server bears, and what an event takes.

    t = (1 - p) t_CPU + t_server [1 + max(0, N_clients / N_servers - t_ideal / t_server)] + t_latency
    t_ideal = (1 - p) t_CPU + t_server + t_latency

Clients work on their own, ask, wait, and go on. Until the knee, at t_ideal / t_server clients per server, nobody waits for
anybody; beyond it every further client costs every event one more t_server. Chance is not in it: it holds where all times
are the same for every event.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Workload:
    """What an event takes, and where."""

    cpu_s: float  # without any server
    moved: float  # p: the share of it that the server does instead
    server_s: float  # of the server, for one event
    latency_s: float  # on the way, and wherever else nobody computes

    @property
    def own_s(self) -> float:
        """Return what stays on the client's CPU."""
        return (1.0 - self.moved) * self.cpu_s

    @property
    def ideal_s(self) -> float:
        """Return the time per event while the server is free."""
        return self.own_s + self.server_s + self.latency_s

    @property
    def knee(self) -> float:
        """Return how many clients keep one server busy."""
        return self.ideal_s / self.server_s

    @property
    def gain(self) -> float:
        """Return how much quicker an event is than without a server, while the server is free."""
        return self.cpu_s / self.ideal_s

    def time_per_event_s(self, clients: float, servers: float = 1.0) -> float:
        """Return what an event takes."""
        queue = max(0.0, clients / servers - self.knee)
        return self.own_s + self.server_s * (1.0 + queue) + self.latency_s

    def events_per_s(self, clients: float, servers: float = 1.0) -> float:
        """Return what all clients do together."""
        return clients / self.time_per_event_s(clients, servers)


# ProtoDUNE-SP with its CNN on a GPU server (M. Wang et al., Front. Big Data 3 (2021) 604083).
PREPARING_S, TRANSMISSION_S, TRAVEL_S = 7.0, 2.05, 0.38
PUBLISHED_CLIENTS = 68
PUBLISHED = Workload(cpu_s=330.0, moved=0.65, server_s=1.77, latency_s=TRANSMISSION_S + TRAVEL_S)


def readings() -> dict[str, Workload]:
    """Return the published numbers as they can be read: the publication says 68, and not which of them it used."""
    whole = PREPARING_S + TRANSMISSION_S + TRAVEL_S
    return {
        "p = 0.65, transmission and travel": PUBLISHED,
        "p = 220/330, preprocessing as well": Workload(330.0, 220.0 / 330.0, 1.77, whole),
        "p = 0.65, preprocessing as well": Workload(330.0, 0.65, 1.77, whole),
    }
