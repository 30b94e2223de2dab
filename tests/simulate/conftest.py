"""Simulated events that several tests share."""

from collections.abc import Callable

import pytest

from tamis.events import Events
from tamis.simulate import SimulationSettings, simulate


def _simulate(process: str, n: int, seed: int = 1, workers: int = 1, **options) -> Events:
    return Events.concatenate(
        simulate(process, n, seed=seed, workers=workers, settings=SimulationSettings(**options))
    )


@pytest.fixture(scope="session")
def simulated() -> Callable[..., Events]:
    return _simulate


@pytest.fixture(scope="session")
def qcd() -> Events:
    return _simulate("qcd", 300)


@pytest.fixture(scope="session")
def graviton() -> Events:
    return _simulate("graviton-ww", 300)
