"""Loads and unloads models while others are served."""

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
from tamis.serve.models.folders import MODEL_NAME, ModelFolder, find_models
from tamis.serve.models.model import FAILURES, Model, OpeningSettings
from tamis.serve.models.overrides import LoadOverride, open_configured, open_sent
from tamis.serve.models.scheduler import Scheduler
from tamis.serve.protocol.messages import Fault, Refusal

T = TypeVar("T")
UNLOADED = "unloaded"


class ServedVersion(Protocol):
    """A version of a model that answers requests."""

    @property
    def model(self) -> Model:
        """Return the model."""

    @property
    def scheduler(self) -> Scheduler:
        """Return its queue."""


class ModelHost(Protocol):
    """Serves the loaded models."""

    def replace(self, name: str, models: Sequence[Model]) -> Sequence[ServedVersion]:
        """Serve these versions instead of all of that name; return the ones served before."""

    def note_failed_load(self, name: str, reason: str) -> None:
        """Log why a model could not be loaded."""


class State(StrEnum):
    """The state of a model, as Triton names it."""

    LOADING = "LOADING"
    READY = "READY"
    UNLOADING = "UNLOADING"
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(frozen=True)
class IndexEntry:
    """A version of a model and its state; the version is empty if none was ever loaded."""

    name: str
    version: str
    state: State
    reason: str = ""


@dataclass
class _ModelStatus:
    """The served versions of a model, its state and the reason for it."""

    versions: tuple[str, ...] = ()
    state: State = State.UNAVAILABLE
    reason: str = ""
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    draining: set[asyncio.Future[None]] = field(default_factory=set)


class Repository:
    """The models in the directories of the server. Its methods are called in the event loop's thread.

    Files are read and models opened in a separate thread, so that other models continue to answer. A requested name is looked up
    among the existing folders, and never used as a path.
    """

    def __init__(
        self, sources: Sequence[str | Path], host: ModelHost, settings: OpeningSettings | None = None
    ) -> None:
        """Find the models in the directories; none is loaded yet."""
        self._sources, self._host, self._settings = tuple(sources), host, settings or OpeningSettings()
        self._folders = find_models(self._sources)
        self._statuses = {name: _ModelStatus() for name in self._folders}
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="tamis-load")
        self._closed = False

    @property
    def is_ready(self) -> bool:
        """Return whether every model is ready, except those that were unloaded."""
        return all(
            status.state is State.READY for status in self._statuses.values() if status.reason != UNLOADED
        )

    def problem_of(self, name: str) -> str:
        """Return why a model is not available although it is in the directories; an empty string if it is."""
        status = self._statuses.get(name)
        return "" if status is None or status.state is State.READY else status.reason

    def index(self, *, only_ready: bool = False) -> list[IndexEntry]:
        """Return the state of all models that are in the directories or were loaded."""
        entries = [
            IndexEntry(name, version, status.state, status.reason)
            for name, status in sorted(self._statuses.items())
            for version in status.versions or ("",)
        ]
        return [one for one in entries if one.state is State.READY] if only_ready else entries

    async def load_all(self) -> None:
        """Load every model; the index has the reason for those that fail."""
        for name in list(self._folders):
            try:
                await self.load(name)
            except Refusal:
                continue

    async def load(self, name: str, sent: LoadOverride | None = None) -> None:
        """Load a model; if it is loaded already, the old one answers until the new one is ready.

        `sent` is what the client sent: a configuration, and files instead of those in the repository.
        """
        self._check_name(name)
        opening: Callable[[], list[Model]]
        if sent is not None and sent.files:
            opening = partial(open_sent, name, self._settings, sent)
            status = self._statuses.setdefault(name, _ModelStatus(reason=UNLOADED))
        else:
            opening = partial(open_configured, await self._find(name), self._settings, sent)
            status = self._statuses.setdefault(name, _ModelStatus())
        async with status.lock:
            before, reason_before = status.state, status.reason
            status.state = before if before is State.READY else State.LOADING
            try:
                models = await self._in_thread(opening)
            except FAILURES as error:
                kept = " (the version loaded before remains)" if before is State.READY else ""
                reason = f"{str(error) or type(error).__name__}{kept}"
                self._host.note_failed_load(name, reason)
                if sent is not None:  # says nothing about the model in the repository
                    status.state, status.reason = before, reason_before
                else:
                    status.state = before if before is State.READY else State.UNAVAILABLE
                    status.reason = reason
                raise Refusal(Fault.INVALID, f"failed to load {name!r}: {reason}") from error
            if self._closed:
                for model in models:
                    model.close()
                raise Refusal(Fault.UNAVAILABLE, "the server is shutting down")
            old = self._host.replace(name, models)
            status.versions = tuple(model.spec.version for model in models)
            status.state, status.reason = State.READY, ""
            self._drain(status, old)

    async def unload(self, name: str) -> None:
        """Stop serving a model; requests that it has queued are answered first."""
        self._check_name(name)
        status = self._statuses.get(name)
        if status is None:
            raise self._no_such(name, "unload")
        async with status.lock:
            old = self._host.replace(name, ())
            if old:
                status.state = State.UNLOADING
            self._drain(status, old)
            if status.draining:
                await asyncio.wait(list(status.draining))
            status.state, status.reason = State.UNAVAILABLE, UNLOADED

    async def close(self) -> None:
        """Unload every model."""
        self._closed = True
        await asyncio.gather(*[self.unload(name) for name in list(self._statuses)])
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _drain(self, status: _ModelStatus, old: Sequence[ServedVersion]) -> None:
        """Let replaced versions answer their queued requests, then close them."""
        loop = asyncio.get_running_loop()
        for served in old:
            done: asyncio.Future[None] = loop.create_future()
            status.draining.add(done)
            done.add_done_callback(status.draining.discard)
            served.scheduler.close(partial(_end, served, done))

    async def _find(self, name: str) -> ModelFolder:
        """Return the folder of a model; the directories are read again, as models may have been added."""
        try:
            self._folders = await self._in_thread(partial(find_models, self._sources))
        except (TamisError, OSError) as error:
            raise Refusal(Fault.INTERNAL, f"cannot read the repository: {error}") from error
        if name not in self._folders:
            raise self._no_such(name)
        return self._folders[name]

    def _check_name(self, name: str) -> None:
        if not MODEL_NAME.fullmatch(name) or ".." in name:
            raise Refusal(
                Fault.INVALID,
                f"{name[:200]!r} is not a valid model name: letters, digits, spaces and _ . + : -, first a letter, digit or _, "
                "and no two dots in a row",
            )

    def _no_such(self, name: str, action: str = "load") -> Refusal:
        hint = did_you_mean(name, sorted(self._statuses))
        return Refusal(
            Fault.NOT_FOUND,
            f"failed to {action} {name!r}: there is no such model in the repository; {hint}".rstrip("; "),
        )

    async def _in_thread(self, function: Callable[[], T]) -> T:
        if self._closed:
            raise Refusal(Fault.UNAVAILABLE, "the server is shutting down")
        return await asyncio.get_running_loop().run_in_executor(self._executor, function)


def _end(served: ServedVersion, done: asyncio.Future[None]) -> None:
    served.scheduler.end()
    served.model.close()
    if not done.done():
        done.set_result(None)
