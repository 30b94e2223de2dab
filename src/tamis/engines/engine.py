"""The interface of an engine: one required method, `load`."""

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
    """The servers on which the engine `remote` runs models."""

    servers: tuple[str, ...]  # grpc://HOST:PORT, or grpcs:// for TLS
    fallback: str | None = None  # the engine to use when no server answers
    timeout_s: float = 1.0  # per call and server
    in_flight: int = 16  # concurrent calls of `Session.submit`
    token: str | None = field(default=None, repr=False)  # default: TAMIS_TOKEN
    ca: str | None = None  # PEM file of the CA that signs the servers' certificates; default: the system's
    certificate: str | None = None  # PEM file of the client certificate, where servers require one
    key: str | None = None  # PEM file of its private key
    names: Mapping[str, str] = field(
        default_factory=dict
    )  # bundle -> model name on the servers, if different


@dataclass(frozen=True)
class Options:
    """Options that every engine takes. One thread on one core is the unit of cost on CPU."""

    threads: int = 1
    chunk: int | None = None  # events per call of the engine; None: from the model's cost
    remote: Remote | None = None  # for the engine `remote`
    # sizes of free dimensions that engines with fixed sizes compile ahead, such as {"particles": (16, 32)}
    dims: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Reject values that no engine supports."""
        for name in ("threads", "chunk"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise UsageError(f"{name} is {value!r}; it must be an integer of at least 1")


class Runner:
    """A loaded model: takes input arrays and returns output arrays, both in the order of the signature.

    The arrays are C-contiguous, have the declared types and hold one batch of at least one event.
    """

    thread_safe: bool = True
    """False if `run` must not be called concurrently; the session then serialises the calls."""

    explanation: str = ""
    """Why this engine was chosen, one line per batch size; empty where the user chose it."""

    engines: tuple[str, ...] = ()
    """Names of the engines that compute, if they differ from the engine itself."""

    fixed_sizes: str = ""
    """Which sizes of events are compiled, and what runs the others; empty if all sizes run alike."""

    in_flight: int = 1
    """Number of submitted calls that are executed concurrently."""

    def __init__(self, call: Callable[[Arrays], Arrays]) -> None:
        """Wrap a plain function; subclass to implement `bind` or `close`."""
        self.run = call

    run: Callable[[Arrays], Arrays]

    def bind(self, arrays: Arrays, results: Arrays) -> Callable[[], object]:
        """Return a call that reads `arrays` and writes `results` in place; engines may override it to prepare the buffers once.

        The caller must keep the buffers alive as long as it uses the returned call.
        """
        run = self.run

        def call() -> None:
            for result, output in zip(results, run(arrays), strict=True):
                result[...] = output

        return call

    def close(self) -> None:
        """Release the resources of the engine."""


class Engine(ABC):
    """A way to run a bundle. Subclass it, implement `load`, register it in the entry-point group `tamis.engines`."""

    name: ClassVar[str]
    library: ClassVar[str] = ""
    """The distribution whose version is the engine's version; default: the engine's name."""
    computes: ClassVar[bool] = True
    """False for an engine that does no work: it measures the harness, is never verified and never decides."""
    local: ClassVar[bool] = True
    """False for an engine that computes on servers, whose addresses it needs."""
    batch_bound: ClassVar[float] = 1e-5
    """Largest allowed dependence of an event's result on its batch, relative to the output's largest value."""
    rounds_weights: ClassVar[bool] = False
    """True for an engine that rounds the model's weights; it is used only where a user requests it."""
    emulates: ClassVar[bool] = False
    """True for an engine that emulates other hardware and runs only models made for it; it is used only where a user requests it."""
    cuts_batches: ClassVar[bool] = False
    """True for an engine that splits large batches itself."""
    compiles_sizes: ClassVar[bool] = False
    """True for an engine whose code has fixed sizes: `Options.dims` names those to compile ahead."""
    saturates: ClassVar[bool] = False
    """True for an engine whose 8-bit products saturate on x86 processors without VNNI."""

    def prepare(self) -> None:  # noqa: B027 - optional
        """Import the library behind the engine; raise MissingExtraError if it is not installed."""

    @abstractmethod
    def load(self, model: bytes, signature: Signature, options: Options) -> Runner:
        """Load an ONNX model; raise ModelError if the engine cannot run it."""

    def open(self, bundle: Bundle, options: Options) -> Runner:
        """Open a bundle; override it to use more of the bundle than its model."""
        return self.load(bundle.model_bytes, bundle.manifest.signature, options)

    @classmethod
    def version(cls) -> str:
        """Return the version of the library behind the engine."""
        from tamis._base import library_versions

        library = cls.library or cls.name
        return library_versions((library,)).get(library, "")


def engine_names() -> list[str]:
    """Return the names of all registered engines."""
    return registry.names(ENGINE_GROUP)


def find_engine(name: str) -> Engine:
    """Return an engine by name; an unknown name raises UsageError with close matches."""
    kind = registry.load(ENGINE_GROUP, name, "engine")
    engine = kind()
    if not isinstance(engine, Engine):
        raise UsageError(f"the entry point {name!r} refers to {kind!r}, which is not an Engine")
    return engine


def writable(array: np.ndarray) -> np.ndarray:
    """Return the array, or a copy if it is read-only: some libraries only wrap writable arrays."""
    return array if array.flags.writeable else array.copy()


def model_error(engine: str, error: BaseException) -> ModelError:
    """Return a ModelError with the first line of a library's error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[0] if lines else type(error).__name__
    return ModelError(f"the engine {engine} cannot run this model: {reason[:400]}")
