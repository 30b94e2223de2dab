"""The load generator for shared memory: one request at a time."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic_ns

import numpy as np

from tamis._base import UsageError
from tamis.measure.traffic.driver import LoadOutcome
from tamis.records import Scenario, Traffic
from tamis.serve.client.channel import CallError
from tamis.serve.client.inference import Codec
from tamis.serve.client.local import LocalChannel


class LocalDriver:
    """Sends prepared arrays over one shared-memory channel."""

    def __init__(self, address: str, codec: Codec, arrays: Sequence[Sequence[np.ndarray]]) -> None:
        """Connect."""
        try:
            self._channel = LocalChannel(address)
        except OSError as error:
            raise UsageError(f"{address} cannot be reached: {error.strerror or error}") from error
        self._codec, self._arrays = codec, arrays

    def run(self, traffic: Traffic) -> list[LoadOutcome]:
        """Send one request after another; requests during the warm-up are not counted."""
        if traffic.scenario is not Scenario.SINGLE_STREAM and traffic.streams != 1:
            raise UsageError("shared memory carries one request at a time: use the scenario single-stream")
        if traffic.scenario is Scenario.SERVER:
            raise UsageError("shared memory has no random arrivals: use the scenario single-stream")
        outcome = LoadOutcome(begin_ns=monotonic_ns() + round(traffic.warm_up_s * 1e9))
        outcome.end_ns = outcome.begin_ns + round(traffic.seconds * 1e9)
        timeout_ns, number = round(traffic.timeout_s * 1e9), 0
        while (begin := monotonic_ns()) < outcome.end_ns:
            arrays = self._arrays[number % len(self._arrays)]
            number += 1
            try:
                self._channel.infer(self._codec, arrays, timeout_ns)
            except CallError as error:
                outcome.errors[str(error)] = outcome.errors.get(str(error), 0) + 1
                if self._channel.closed:
                    break
                continue
            if begin >= outcome.begin_ns:
                outcome.scheduled_ns.append(begin)
                outcome.sent_ns.append(begin)
                outcome.done_ns.append(monotonic_ns())
        return [outcome]

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()
