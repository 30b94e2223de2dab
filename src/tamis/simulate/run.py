"""Simulation of collisions: blocks of events in order."""

from __future__ import annotations

from collections.abc import Iterator

from tamis.events import Events
from tamis.simulate.blocks import BLOCK_EVENTS, Task, make_block
from tamis.simulate.parallel import check_simulation, in_order
from tamis.simulate.settings import SimulationSettings, generator_lines, pile_up_lines


def simulate(
    process: str, n: int, *, seed: int, workers: int = 1, settings: SimulationSettings | None = None
) -> Iterator[Events]:
    """Yield exactly n events in batches of up to 250; they do not depend on the number of workers.

    A longer run with the same seed begins with the same events. With several workers, which are spawned, the calling script
    needs the usual `if __name__ == "__main__":`.
    """
    settings = settings or SimulationSettings()
    generator_lines(process, settings)
    pile_up_lines(settings)
    check_simulation(n, "events", seed, workers, collisions=True)
    tasks = (
        Task(process, settings, seed, block, min(BLOCK_EVENTS, n - block * BLOCK_EVENTS))
        for block in range(-(-n // BLOCK_EVENTS))
    )
    return in_order(make_block, tasks, workers if n > BLOCK_EVENTS else 1)
