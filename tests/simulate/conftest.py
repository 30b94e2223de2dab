"""Batches that several tests look at, each made once."""

from collections.abc import Callable

import pytest

from tamis.events import Events
from tamis.simulate import Settings, simulate


def _made(process: str, n: int, seed: int = 1, workers: int = 1, **options) -> Events:
    return Events.concatenate(simulate(process, n, seed=seed, workers=workers, settings=Settings(**options)))


@pytest.fixture(scope="session")
def made() -> Callable[..., Events]:
    return _made


@pytest.fixture(scope="session")
def qcd() -> Events:
    return _made("qcd", 300)


@pytest.fixture(scope="session")
def graviton() -> Events:
    return _made("graviton-ww", 300)
