"""The published closed formula: the time per event with the network on a server shared by some clients."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Sonic:
    """The parameters of the formula, all per event."""

    cpu_s: float  # the whole chain without a server
    moves: float  # the fraction of it that moves to the server
    server_s: float  # computing on the server
    latency_s: float  # transmission and travel

    @property
    def alone_s(self) -> float:
        """Return the time per event while the server is not saturated."""
        return self.event_s(0.0)

    def event_s(self, clients_per_server: float) -> float:
        """Return the time per event."""
        stays_s = (1.0 - self.moves) * self.cpu_s
        ideal_s = stays_s + self.server_s + self.latency_s
        waiting = max(0.0, clients_per_server - ideal_s / self.server_s)
        return stays_s + self.server_s * (1.0 + waiting) + self.latency_s

    @property
    def knee(self) -> float:
        """Return the number of clients that saturates a server."""
        return self.alone_s / self.server_s

    @property
    def chain_gain(self) -> float:
        """Return the speed-up of the whole chain."""
        return self.cpu_s / self.alone_s

    def module_gain(self, preprocessing_s: float) -> float:
        """Return the speed-up of the network, including the preprocessing on both sides."""
        remains_s = preprocessing_s + self.server_s + self.latency_s
        return (self.moves * self.cpu_s + preprocessing_s) / remains_s


PREPROCESSING_S, TRANSMISSION_S, TRAVEL_S = 7.0, 2.05, 0.38
PUBLISHED = Sonic(cpu_s=330.0, moves=0.65, server_s=1.77, latency_s=TRANSMISSION_S + TRAVEL_S)
PUBLISHED_FASTER = (220.0 - PREPROCESSING_S) / PUBLISHED.server_s  # GPU over CPU, computing only
