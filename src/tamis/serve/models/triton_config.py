"""Interprets a Triton configuration: the interface, batching and instances of a model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from tritonclient.grpc import model_config_pb2 as pb

from tamis._base import ModelError
from tamis.serve.batching import Batching, QueuePolicy, SequencePolicy
from tamis.serve.models.config_text import FACT_PREFIX, FILES, PLATFORMS, without_effect
from tamis.serve.models.folders import VERSION_FOLDER
from tamis.serve.models.model import Model, ModelSpec, Spec

MAX_INSTANCES, MAX_PRIORITIES = 256, 64


@dataclass(frozen=True)
class Reshape:
    """The shapes of a tensor in a request (`outer`) and in the model (`inner`), without the batch dimension; -1 is free."""

    outer: tuple[int, ...]
    inner: tuple[int, ...]


def reshaped(
    array: np.ndarray, before: tuple[int, ...], after: tuple[int, ...], has_rows: bool
) -> np.ndarray:
    """Return an array reshaped from `before` to `after`; the free sizes keep their order."""
    first = int(has_rows)
    free = iter([actual for actual, size in zip(array.shape[first:], before, strict=True) if size == -1])
    return array.reshape((*array.shape[:first], *(next(free) if size == -1 else size for size in after)))


@dataclass(frozen=True)
class ResolvedConfig:
    """A complete configuration of a model."""

    config: Any
    location: str  # the file, for errors
    folder: Path
    backend: str
    inputs: tuple[Spec, ...]
    outputs: tuple[Spec, ...]
    batching: Batching | None
    instances: int
    reshapes: dict[str, Reshape]
    ignored: tuple[str, ...]  # settings without effect
    off: tuple[str, ...] = ()  # features that are switched off
    parameters: dict[str, str] = field(default_factory=dict)

    @property
    def max_batch(self) -> int:
        """Return the largest number of rows of a batch; 0 without a batch dimension."""
        return int(self.config.max_batch_size)

    @property
    def threads(self) -> int:
        """Return the number of threads of one execution."""
        return self.number("intra_op_thread_count", 1)

    def number(self, name: str, default: int) -> int:
        """Return a parameter that is a positive integer; as in Triton, 0 means the default."""
        text = self.parameters.get(name, "").strip()
        if not text or text == "0":
            return default
        if not text.isdigit() or int(text) > 1024:
            raise ModelError(
                f"{self.location}: parameters {name!r} is {text[:40]!r}; write an integer from 1 to 1024"
            )
        return int(text)

    def spec(self, version: str, facts: dict[str, str]) -> ModelSpec:
        """Return the interface of one version."""
        notes = {"ignored": "; ".join(self.ignored), "off": "; ".join(self.off)}
        platform = next(name for name, backend in PLATFORMS.items() if backend == self.backend)
        return ModelSpec(
            self.config.name,
            version,
            platform,
            self.inputs,
            self.outputs,
            self.max_batch,
            self.batching,
            {**{name: text for name, text in notes.items() if text}, **facts},
        )

    def inner(self, spec: Spec) -> tuple[int, ...]:
        """Return the shape of an input or output in the model itself, without the batch dimension."""
        return self.reshapes[spec.name].inner if spec.name in self.reshapes else spec.shape

    def to_graph(self, arrays: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Return the inputs of a request as the graph takes them."""
        feeds = {}
        for spec, array in zip(self.inputs, arrays, strict=True):
            change = self.reshapes.get(spec.name)
            feeds[spec.name] = (
                array if change is None else reshaped(array, change.outer, change.inner, bool(self.max_batch))
            )
        return feeds

    def from_graph(self, results: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """Return the outputs of the graph as the answer has them."""
        outputs = []
        for spec in self.outputs:
            change, array = self.reshapes.get(spec.name), results[spec.name]
            outputs.append(
                array if change is None else reshaped(array, change.inner, change.outer, bool(self.max_batch))
            )
        return outputs


def resolve_config(
    config: Any,
    location: str,
    folder: Path,
    backend: str,
    roots: Sequence[Path] = (),
    ignored: Sequence[str] = (),
) -> ResolvedConfig:
    """Check a configuration whose inputs and outputs are set, and fill in the defaults of Triton.

    Files that it names may be links into `roots` or into the model's own folder; `ignored` are notes on settings without effect.
    """
    if config.max_batch_size < 0:
        raise ModelError(
            f"{location}: field max_batch_size is {config.max_batch_size}; write 0 for a model without a batch"
        )
    if "/" in config.default_model_filename or config.default_model_filename.startswith("."):
        raise ModelError(
            f"{location}: field default_model_filename: {config.default_model_filename!r} must be a plain file name"
        )
    reshapes: dict[str, Reshape] = {}
    inputs = tuple(_tensor(one, "input", location, reshapes) for one in config.input)
    outputs = tuple(_tensor(one, "output", location, reshapes) for one in config.output)
    for kind, specs in (("input", inputs), ("output", outputs)):
        names = [spec.name for spec in specs]
        if not names:
            raise ModelError(f"{location}: field {kind} is missing; name every {kind} of the model")
        if duplicate := next((name for name in names if names.count(name) > 1), None):
            raise ModelError(f"{location}: two entries of {kind} have the name {duplicate!r}; remove one")
    batching = batching_of(config, location)
    off: list[str] = []
    labels = [_labels(one, location, folder, (folder, *roots), off) for one in config.output]
    outputs = tuple(replace(spec, labels=names) for spec, names in zip(outputs, labels, strict=True))
    ignored = [*ignored, *without_effect(config)]
    instances = _instances(config, location)
    _fill_in(config, backend, instances)
    parameters = {name: value.string_value for name, value in config.parameters.items()}
    return ResolvedConfig(
        config,
        location,
        folder,
        backend,
        inputs,
        outputs,
        batching,
        instances,
        reshapes,
        tuple(ignored),
        tuple(off),
        parameters,
    )


def _fill_in(config: Any, backend: str, instances: int) -> None:
    """Set the defaults in the configuration, as Triton does in its answer to ModelConfig."""
    config.backend = backend
    config.platform = next(name for name, known in PLATFORMS.items() if known == backend)
    config.default_model_filename = config.default_model_filename or FILES[backend]
    if not config.version_policy.WhichOneof("policy_choice"):
        config.version_policy.latest.num_versions = 1
    if not config.instance_group:
        config.instance_group.add(name=config.name, kind=pb.ModelInstanceGroup.KIND_CPU, count=instances)
    batches = config.dynamic_batching if config.HasField("dynamic_batching") else None
    if batches is not None and not batches.preferred_batch_size and config.max_batch_size:
        batches.preferred_batch_size.append(config.max_batch_size)


def _tensor(one: Any, kind: str, location: str, reshapes: dict[str, Reshape]) -> Spec:
    if not one.name:
        raise ModelError(f"{location}: field {kind}.name is missing; every {kind} has a name")
    which = f"{kind} {one.name!r}"
    if one.data_type == pb.TYPE_INVALID:
        raise ModelError(f"{location}: field data_type of {which} is missing; write for example TYPE_FP32")
    datatype = pb.DataType.Name(one.data_type).removeprefix("TYPE_").replace("STRING", "BYTES")
    shape = _dims(one.dims, f"{location}: field dims of {which}")
    if not shape:
        raise ModelError(
            f"{location}: field dims of {which} is missing; write dims: [ -1 ] where the size is free"
        )
    if one.HasField("reshape"):
        inner = _dims(one.reshape.shape, f"{location}: field reshape of {which}")
        free = shape.count(-1), inner.count(-1)
        if free[0] != free[1] or (not free[0] and math.prod(shape) != math.prod(inner)):
            raise ModelError(
                f"{location}: field reshape of {which}: {list(inner)} differs from dims {list(shape)} in its number of elements"
            )
        reshapes[one.name] = Reshape(shape, inner)
    return Spec(one.name, datatype, shape, kind == "input" and one.optional)


def _dims(dims: Sequence[int], where: str) -> tuple[int, ...]:
    invalid = next((size for size in dims if size == 0 or size < -1), None)
    if invalid is not None:
        raise ModelError(
            f"{where}: {invalid} is not a size; write a positive integer, or -1 where it is free"
        )
    return tuple(dims)


def _labels(one: Any, location: str, folder: Path, roots: Sequence[Path], off: list[str]) -> tuple[str, ...]:
    """Return the labels of an output's elements; if the file is missing, classification answers with indices only."""
    if not one.label_filename:
        return ()
    which = f"label_filename of output {one.name!r}"
    try:
        path = confined(folder, one.label_filename, roots)
        if not path.is_file():
            off.append(
                f"{which}: there is no {one.label_filename!r} in {folder.name}, so its classes have no labels"
            )
            return ()
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise ModelError(
            f"{location}: field {which}: cannot read {one.label_filename!r} in {folder}: {error}"
        ) from error
    return tuple(line.strip() for line in text.splitlines())


def confined(folder: Path, name: str, roots: Sequence[Path]) -> Path:
    """Return the path of a file in a folder; raise ValueError if it leaves the folder, or a link leaves all `roots`."""
    if not name or "\0" in name or Path(name).is_absolute() or ".." in Path(name).parts:
        raise ValueError("the path has to stay within the model's folder")
    path = (folder / name).resolve()
    if not any(path.is_relative_to(root.resolve()) for root in roots):
        raise ValueError(f"the link leads out of {roots[-1]}")
    return path


def _instances(config: Any, location: str) -> int:
    if any(group.count < 0 for group in config.instance_group):
        raise ModelError(f"{location}: field instance_group.count is negative; write the number of instances")
    count = sum(group.count or 1 for group in config.instance_group) or 1
    if count > MAX_INSTANCES:
        raise ModelError(
            f"{location}: field instance_group.count: {count} instances; at most {MAX_INSTANCES} are possible"
        )
    return count


def batching_of(config: Any, location: str) -> Batching | None:
    """Return how the requests of a model are batched; None: each runs alone."""
    if not config.HasField("dynamic_batching"):
        return None
    dynamic = config.dynamic_batching
    preferred = tuple(sorted(dynamic.preferred_batch_size))
    if any(size < 1 or size > config.max_batch_size for size in preferred):
        raise ModelError(
            f"{location}: field dynamic_batching.preferred_batch_size: {list(preferred)} must be between 1 and "
            f"max_batch_size, which is {config.max_batch_size}"
        )
    if preferred == (config.max_batch_size,):  # the default that `_fill_in` sets
        preferred = ()
    count = dynamic.priority_levels
    if count > MAX_PRIORITIES:
        raise ModelError(
            f"{location}: field dynamic_batching.priority_levels is {count}; the maximum is {MAX_PRIORITIES}"
        )
    if count and not 1 <= dynamic.default_priority_level <= count:
        raise ModelError(
            f"{location}: field dynamic_batching.default_priority_level is {dynamic.default_priority_level}; "
            f"write a level between 1 and priority_levels, which is {count}"
        )
    if dynamic.preserve_ordering and count > 1:
        raise ModelError(
            f"{location}: field dynamic_batching.preserve_ordering contradicts priority_levels: remove one of them"
        )
    policies = dynamic.priority_queue_policy
    if unknown := next((level for level in policies if not 1 <= level <= count), None):
        raise ModelError(
            f"{location}: field dynamic_batching.priority_queue_policy: there is no level {unknown}; priority_levels is {count}"
        )
    queue_policies = [
        policies[level] if level in policies else dynamic.default_queue_policy  # noqa: SIM401 - `get` of protobuf maps has no default in old releases
        for level in range(1, max(count, 1) + 1)
    ]
    levels = tuple(map(_queue_policy, queue_policies))
    delay_ns = dynamic.max_queue_delay_microseconds * 1000
    return Batching(
        preferred, delay_ns, levels, max(dynamic.default_priority_level, 1) - 1, dynamic.preserve_ordering
    )


def _queue_policy(policy: Any) -> QueuePolicy:
    return QueuePolicy(
        max_requests=policy.max_queue_size,
        timeout_ns=policy.default_timeout_microseconds * 1000,
        allow_override=policy.allow_timeout_override,
        delay_expired=policy.timeout_action == pb.ModelQueuePolicy.DELAY,
    )


def empty_config() -> Any:
    """Return the configuration of a model without a file `config.pbtxt`."""
    return pb.ModelConfig()


def versions_of(config: Any, folder: Path) -> list[str]:
    """Return the served versions, the newest last."""
    existing = sorted(
        (entry.name for entry in folder.iterdir() if entry.is_dir() and VERSION_FOLDER.fullmatch(entry.name)),
        key=int,
    )
    policy = config.version_policy
    choice = policy.WhichOneof("policy_choice")
    if choice == "all":
        return existing
    if choice == "specific":
        requested = [str(version) for version in sorted(policy.specific.versions)]
        if missing := next((version for version in requested if version not in existing), None):
            raise ModelError(
                f"{folder}: field version_policy.specific: there is no folder {missing}; the versions are {', '.join(existing) or 'none'}"
            )
        return requested
    return existing[-(policy.latest.num_versions or 1) :]


def config_of(spec: ModelSpec, instances: int = 1) -> Any:
    """Return a configuration for a model without one, such as a bundle.

    It always has a preferred batch size, as Triton's answers do: clients split their arrays by the first one.
    """
    config = pb.ModelConfig(name=spec.name, platform=spec.platform, max_batch_size=spec.max_batch)
    for target, specs in ((config.input, spec.described_inputs), (config.output, spec.described_outputs)):
        for one in specs:
            target.add(name=one.name, data_type=_data_type(one), dims=one.shape)
    if spec.sequences is not None:
        _write_sequences(config.sequence_batching, spec, spec.sequences)
    elif spec.batching is not None:
        sizes = spec.batching.preferred or (spec.batching.max_merged_rows or spec.max_batch,)
        config.dynamic_batching.preferred_batch_size.extend(sizes)
        config.dynamic_batching.max_queue_delay_microseconds = spec.batching.delay_ns // 1000
    if spec.batching is not None and spec.batching.max_merged_rows:
        config.parameters["tamis_merged_rows"].string_value = str(spec.batching.max_merged_rows)
    _fill_in(config, PLATFORMS.get(spec.platform, "onnxruntime"), instances)
    return config


def _data_type(spec: Spec) -> int:
    number: int = pb.DataType.Value(f"TYPE_{spec.datatype.replace('BYTES', 'STRING')}")
    return number


def _write_sequences(batcher: Any, spec: ModelSpec, policy: SequencePolicy) -> None:
    """Write states as Triton's implicit state; each begins with zeros."""
    batcher.max_sequence_idle_microseconds = policy.idle_us
    batcher.oldest.max_candidate_sequences = policy.max_sequences
    if spec.batching is not None:
        batcher.oldest.max_queue_delay_microseconds = spec.batching.delay_ns // 1000
    for one in spec.inputs:
        if one.name in policy.states:
            kind, output = _data_type(one), policy.states[one.name]
            state = batcher.state.add(input_name=one.name, output_name=output, data_type=kind, dims=one.shape)
            state.initial_state.add(name=one.name, data_type=kind, dims=one.shape, zero_data=True)


def served_config(model: Model) -> Any:
    """Return the configuration in answers: that of the model, and how it runs as parameters `tamis.engine` and others."""
    config = pb.ModelConfig()
    config.CopyFrom(model.config if model.config is not None else config_of(model.spec, len(model.instances)))
    for name, text in model.spec.facts.items():
        config.parameters[f"{FACT_PREFIX}{name}"].string_value = text
    return config
