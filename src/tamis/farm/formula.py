"""The closed formula for a shared coprocessor: how many clients one server supports, and the time per event.

    t = (1 - p) t_CPU + t_server [1 + max(0, N_clients / N_servers - t_ideal / t_server)] + t_latency
    t_ideal = (1 - p) t_CPU + t_server + t_latency

Clients work on their own, send a request, wait for the response, and repeat. Up to the knee, at t_ideal / t_server clients
per server, no request waits for another; beyond it each further client adds t_server to the time per event. There is no
randomness in the formula: it holds if all times are the same for every event.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Workload:
    """The time per event, by where it is spent."""

    cpu_s: float  # on the CPU alone, without a server
    moved: float  # p: the fraction of it that the server takes over
    server_s: float  # on the server
    latency_s: float  # in transfer and other waiting

    @property
    def own_s(self) -> float:
        """Return the time on the client's CPU."""
        return (1.0 - self.moved) * self.cpu_s

    @property
    def ideal_s(self) -> float:
        """Return the time per event with an idle server."""
        return self.own_s + self.server_s + self.latency_s

    @property
    def knee(self) -> float:
        """Return the number of clients that saturate one server."""
        return self.ideal_s / self.server_s

    @property
    def gain(self) -> float:
        """Return the speed-up over the CPU alone, with an idle server."""
        return self.cpu_s / self.ideal_s

    def time_per_event_s(self, clients: float, servers: float = 1.0) -> float:
        """Return the time per event."""
        queue = max(0.0, clients / servers - self.knee)
        return self.own_s + self.server_s * (1.0 + queue) + self.latency_s

    def events_per_s(self, clients: float, servers: float = 1.0) -> float:
        """Return the event rate of all clients together."""
        return clients / self.time_per_event_s(clients, servers)


# ProtoDUNE-SP with its CNN on a GPU server (M. Wang et al., Front. Big Data 3 (2021) 604083).
PREPARING_S, TRANSMISSION_S, TRAVEL_S = 7.0, 2.05, 0.38
PUBLISHED_CLIENTS = 68
PUBLISHED = Workload(cpu_s=330.0, moved=0.65, server_s=1.77, latency_s=TRANSMISSION_S + TRAVEL_S)


def readings() -> dict[str, Workload]:
    """Return the possible interpretations of the published numbers: the paper quotes a knee of 68 without its inputs."""
    whole = PREPARING_S + TRANSMISSION_S + TRAVEL_S
    return {
        "p = 0.65, transmission and travel": PUBLISHED,
        "p = 220/330, preprocessing as well": Workload(330.0, 220.0 / 330.0, 1.77, whole),
        "p = 0.65, preprocessing as well": Workload(330.0, 0.65, 1.77, whole),
    }
