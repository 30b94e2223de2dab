"""The repository: models that are loaded and unloaded while others are served."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

from tamis._base import TamisError, did_you_mean
from tamis.serve.models.folders import NAME, ModelFolder, find_models
from tamis.serve.models.model import FAILURES, Model
from tamis.serve.models.opening import BundleSettings, open_models
from tamis.serve.models.scheduler import Scheduler
from tamis.serve.protocol.messages import Fault, Refusal

T = TypeVar("T")
UNLOADED = "unloaded"


class ServedVersion(Protocol):
    """A version of a model that answers."""

    @property
    def model(self) -> Model:
        """Return the model."""

    @property
    def scheduler(self) -> Scheduler:
        """Return its queue."""


class ModelHost(Protocol):
    """Who serves what is loaded."""

    def replace(self, name: str, models: Sequence[Model]) -> Sequence[ServedVersion]:
        """Let these versions answer instead of all of that name; return those that answered before."""


class State(StrEnum):
    """How far a model is, in Triton's words."""

    LOADING = "LOADING"
    READY = "READY"
    UNLOADING = "UNLOADING"
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(frozen=True)
class IndexEntry:
    """A version of a model and its state; without a version where none was ever loaded."""

    name: str
    version: str
    state: State
    reason: str = ""


@dataclass
class _Known:
    """A model by its name: what is ready of it, and why the rest is not."""

    versions: tuple[str, ...] = ()
    state: State = State.UNAVAILABLE
    reason: str = ""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    draining: set[asyncio.Future[None]] = field(default_factory=set)


class Repository:
    """The models in the directories that the server was given. Its methods are called in the thread of the loop.

    `load` and `unload` are coroutines; files are read and models opened in a thread of their own, so that the others go on
    answering. Whatever is asked for by name is looked up among the folders that are there: a name is never made a path.
    """

    def __init__(
        self, given: Sequence[str | Path], serving: ModelHost, settings: BundleSettings | None = None
    ) -> None:
        """Look through the directories; nothing is loaded yet."""
        self._given, self._serving, self._settings = tuple(given), serving, settings or BundleSettings()
        self._places = find_models(self._given)
        self._known = {name: _Known() for name in self._places}
        self._workers = ThreadPoolExecutor(1, thread_name_prefix="tamis-load")
        self._closed = False

    @property
    def is_ready(self) -> bool:
        """Tell whether every model that was asked for is ready."""
        return all(known.state is State.READY for known in self._known.values() if known.reason != UNLOADED)

    def index(self, *, only_ready: bool = False) -> list[IndexEntry]:
        """Return all models that lie there, or were loaded, and how they are."""
        found = [
            IndexEntry(name, version, known.state, known.reason)
            for name, known in sorted(self._known.items())
            for version in known.versions or ("",)
        ]
        return [one for one in found if one.state is State.READY] if only_ready else found

    async def load_all(self) -> None:
        """Load every model; what cannot be is told by the index."""
        for name in list(self._places):
            try:
                await self.load(name)
            except Refusal:
                continue  # its reason is in the index

    async def load(self, name: str) -> None:
        """Read a model anew, and let it answer once it is ready; one that was loaded before answers until then."""
        place = await self._find(name)
        known = self._known.setdefault(name, _Known())
        async with known.lock:
            before = known.state
            known.state = before if before is State.READY else State.LOADING
            try:
                models = await self._in_thread(partial(open_models, place, self._settings))
            except FAILURES as error:
                kept = " (the one that was loaded before goes on)" if before is State.READY else ""
                told = str(error) or type(error).__name__
                known.reason = f"{told}{kept}"
                if before is not State.READY:
                    known.state = State.UNAVAILABLE
                raise Refusal(Fault.INVALID, f"failed to load {name!r}: {known.reason}") from error
            if self._closed:
                for model in models:
                    model.close()
                raise Refusal(Fault.UNAVAILABLE, "the server is being shut down")
            old = self._serving.replace(name, models)
            known.versions = tuple(model.spec.version for model in models)
            known.state, known.reason = State.READY, ""
            self._drain(known, old)

    async def unload(self, name: str) -> None:
        """Let a model answer no more; what waits for it is done first."""
        self._check_name(name)
        known = self._known.get(name)
        if known is None:
            raise self._no_such(name)
        async with known.lock:
            old = self._serving.replace(name, ())
            if old:
                known.state = State.UNLOADING
            self._drain(known, old)
            await self._drained(known)
            known.state, known.reason = State.UNAVAILABLE, UNLOADED

    async def close(self) -> None:
        """Let every model finish what waits for it, and close it."""
        self._closed = True
        await asyncio.gather(*[self.unload(name) for name in list(self._known)])
        self._workers.shutdown(wait=False, cancel_futures=True)

    def _drain(self, known: _Known, old: Sequence[ServedVersion]) -> None:
        """Let those that answered before do what waits for them; then close them, in the worker's thread."""
        loop = asyncio.get_running_loop()
        for served in old:
            done: asyncio.Future[None] = loop.create_future()
            known.draining.add(done)
            done.add_done_callback(known.draining.discard)
            served.scheduler.close(partial(_end, served, done))

    async def _drained(self, known: _Known) -> None:
        if known.draining:
            await asyncio.wait(list(known.draining))

    async def _find(self, name: str) -> ModelFolder:
        """Look the directories through again: models may have come."""
        self._check_name(name)
        try:
            self._places = await self._in_thread(partial(find_models, self._given))
        except (TamisError, OSError) as error:
            raise Refusal(Fault.INTERNAL, f"cannot look through the repository: {error}") from error
        if name not in self._places:
            raise self._no_such(name)
        return self._places[name]

    def _check_name(self, name: str) -> None:
        if not NAME.fullmatch(name) or ".." in name:
            raise Refusal(
                Fault.INVALID,
                f"{name[:200]!r} is no name of a model; a name has no slashes, and no dots in a row",
            )

    def _no_such(self, name: str) -> Refusal:
        hint = did_you_mean(name, sorted(self._known))
        return Refusal(Fault.NOT_FOUND, f"there is no model {name!r} in the repository; {hint}".rstrip("; "))

    async def _in_thread(self, act: Callable[[], T]) -> T:
        if self._closed:
            raise Refusal(Fault.UNAVAILABLE, "the server is being shut down")
        return await asyncio.get_running_loop().run_in_executor(self._workers, act)


def _end(served: ServedVersion, done: asyncio.Future[None]) -> None:
    served.scheduler.end()
    served.model.close()
    if not done.done():
        done.set_result(None)
