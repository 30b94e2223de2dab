"""The seam: what a way of running models has to provide. One required method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from tamis._base import ModelError, UsageError, registry
from tamis.bundle import Bundle, Signature

ENGINE_GROUP = "tamis.engines"

Arrays = Sequence[np.ndarray]


@dataclass(frozen=True)
class Remote:
    """Where models run that do not run here."""

    servers: tuple[str, ...]  # grpc://HOST:PORT, or grpcs:// for TLS
    fallback: str | None = None  # the engine that stands in when none of them answers
    timeout_s: float = 1.0  # of one call to one server
    in_flight: int = 16  # calls that are submitted, at a time
    token: str | None = field(default=None, repr=False)  # else that in TAMIS_TOKEN
    ca: str | None = None  # a file: who signs the servers' certificates, if not those whom the system trusts
    certificate: str | None = None  # a file: what this client shows, where servers want that
    key: str | None = None
    names: Mapping[str, str] = field(
        default_factory=dict
    )  # of bundles, where the servers call them otherwise


@dataclass(frozen=True)
class Options:
    """What a user may ask of any engine. One thread on one core is the unit of cost on CPU."""

    threads: int = 1
    chunk: int | None = None  # events per call of the engine; None: chosen from the model's cost
    remote: Remote | None = None  # for the engine of that name

    def __post_init__(self) -> None:
        """Refuse what no engine can do."""
        for name in ("threads", "chunk"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise UsageError(f"{name} is {value!r}; it has to be a whole number of at least 1")


class Runner:
    """A loaded model: input arrays in the order of the signature in, output arrays in its order out.

    The arrays are C-contiguous, of the declared types and of one batch of at least one event.
    """

    thread_safe: bool = True
    """False where two threads may not call `run` at once: the session then lets one in at a time."""

    explanation: str = ""
    """Why this engine does it, where that was chosen; a line per batch size."""

    computed_by: str = ""
    """The libraries that compute and their versions, where it is not the engine's own name that tells."""

    in_flight: int = 1
    """How many calls that were submitted are done at a time."""

    def __init__(self, call: Callable[[Arrays], Arrays]) -> None:
        """Wrap a plain function; engines with more to offer subclass."""
        self.run = call

    run: Callable[[Arrays], Arrays]

    def bind(self, arrays: Arrays, results: Arrays) -> Callable[[], object]:
        """Return a call that reads these very buffers and writes those; an engine that can hold on to them is faster here.

        Whoever binds keeps the buffers alive for as long as the call is used.
        """
        run = self.run

        def call() -> None:
            for result, found in zip(results, run(arrays), strict=True):
                result[...] = found

        return call

    def close(self) -> None:
        """Give back what the engine holds."""


class Engine(ABC):
    """A way to run a bundle. Subclass it, implement `load`, name it in the entry-point group `tamis.engines`."""

    name: ClassVar[str]
    computes: ClassVar[bool] = True
    """False for an engine that does no work: it measures the harness, is never verified and never decides."""
    here: ClassVar[bool] = True
    """False for an engine that computes elsewhere, and has to be told where."""
    batch_bound: ClassVar[float] = 1e-5
    """How far, relative to an output's largest value, an event's result may depend on the batch it is in."""
    rounds: ClassVar[bool] = False
    """True for an engine that computes another model than was given, if only a little: it is tried where a user asks for it."""
    cuts_batches: ClassVar[bool] = False
    """True for an engine that goes through large batches piece by piece itself."""

    saturates: ClassVar[bool] = False
    """True for an engine whose 8-bit products saturate on x86 processors without VNNI."""

    def prepare(self) -> None:  # noqa: B027 - most engines need nothing
        """Import the library behind the engine; raise MissingExtraError where it is not installed."""

    @abstractmethod
    def load(self, model: bytes, signature: Signature, options: Options) -> Runner:
        """Load an ONNX model; raise ModelError where it cannot be run."""

    def open(self, bundle: Bundle, options: Options) -> Runner:
        """Open a bundle; an engine that needs more of it than its model has a way of its own."""
        return self.load(bundle.model_bytes, bundle.manifest.signature, options)

    @classmethod
    def version(cls) -> str:
        """Return the version of the library behind the engine."""
        from tamis._base import library_versions

        return library_versions((cls.name,)).get(cls.name, "")


def engine_names() -> list[str]:
    """Return the names of all registered engines."""
    return registry.names(ENGINE_GROUP)


def find_engine(name: str) -> Engine:
    """Return an engine by name, or say which names are near."""
    kind = registry.load(ENGINE_GROUP, name, "engine")
    engine = kind()
    if not isinstance(engine, Engine):
        raise UsageError(f"the entry point {name!r} names {kind!r}, which is no Engine")
    return engine


def writable(array: np.ndarray) -> np.ndarray:
    """Copy a read-only array: some libraries do not promise not to write to what they wrap, and refuse it."""
    return array if array.flags.writeable else array.copy()


def refuse(engine: str, error: BaseException) -> ModelError:
    """Map a library's own error to one sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = lines[0] if lines else type(error).__name__
    return ModelError(f"the engine {engine} cannot run this model: {told[:400]}")
