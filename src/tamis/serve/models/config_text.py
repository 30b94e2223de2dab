"""Parses `config.pbtxt`; errors suggest corrections, and fields that the server does not support are rejected."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pool, json_format, text_format
from tritonclient.grpc import model_config_pb2 as pb

from tamis._base import ModelError, UnsafeBundleError, did_you_mean, human_bytes

MAX_CONFIG_BYTES = 1_000_000
BUNDLE_PARAMETER = "tamis_bundle"  # names the folder of an exported bundle, within the version's folder
REQUEST_CONFIG = "the configuration in the request"  # where errors are, if a client sent it
FACT_PREFIX = "tamis."  # of parameters in answers, which say how a model runs; settings begin with `tamis_`
ENGINE_PARAMETER, THREADS_PARAMETER = "tamis_engine", "tamis_threads"
KNOWN_PARAMETERS = frozenset(
    [
        BUNDLE_PARAMETER,
        ENGINE_PARAMETER,
        THREADS_PARAMETER,
        "intra_op_thread_count",
        "tamis_merged_rows",
        "tamis_verify",
    ]
)
BACKENDS = {"onnxruntime": "onnxruntime", "pytorch": "pytorch"}
PLATFORMS = {"onnxruntime_onnx": "onnxruntime", "pytorch_libtorch": "pytorch"}
FILES = {"onnxruntime": "model.onnx", "pytorch": "model.pt"}
_NO_FIELD = re.compile(r'Message type "([\w.]+)" has no field named "(\w+)"')
_NO_VALUE = re.compile(r'Enum type "([\w.]+)" has no value named (\w+)')

# Fields that change what a model computes, and what to do instead.
_UNSUPPORTED = {
    "ensemble_scheduling": "ensembles are not served; serve the models one by one and chain them in the client",
    "sequence_batching": "models that keep a state between requests are not served; make the state an input and an output, and pack a bundle, whose states are kept",
    "batch_input": "inputs computed from a ragged batch are not served; pad the inputs in the client",
    "batch_output": "outputs scattered over a ragged batch are not served; pad the inputs in the client",
    "runtime": "another runtime of a backend cannot be chosen; remove the field",
}
# Fields that change the speed of a model at most.
_WITHOUT_EFFECT = {
    "optimization": "ONNX Runtime optimises the graph by its own defaults",
    "response_cache": "answers are not cached",
    "cc_model_filenames": "there is one model file for all processors",
    "metric_tags": "metrics have no further labels",
    "model_metrics": "the buckets of histograms are fixed",
}


def read_config(path: Path) -> Any:
    """Read a configuration; raise ModelError for fields that the server does not support."""
    try:
        size = path.stat().st_size
        if size > MAX_CONFIG_BYTES:
            raise UnsafeBundleError(
                f"{path} has {human_bytes(size)}; a configuration has at most {human_bytes(MAX_CONFIG_BYTES)}"
            )
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"cannot read {path}: {error}") from error
    return parse_config(text, str(path))


def parse_config(text: str, location: str) -> Any:
    """Parse a configuration; `location` is its location, for errors."""
    config = pb.ModelConfig()
    try:
        text_format.Parse(text, config)
    except (text_format.ParseError, RecursionError) as error:
        raise ModelError(f"{location}: {_parse_message(error)}") from error
    for message in _unsupported(config):
        raise ModelError(f"{location}: {message}")
    return config


def parse_json_config(text: str, location: str) -> Any:
    """Parse a configuration in JSON, as clients send it and as the server answers."""
    config = pb.ModelConfig()
    try:
        document = json.loads(text)
        if not isinstance(document, dict):
            raise ModelError(
                f"{location}: {text[:40]!r} is not a JSON object; write the fields of ModelConfig, in braces"
            )
        json_format.ParseDict(document, config)
    except (json_format.ParseError, ValueError, RecursionError) as error:
        raise ModelError(f"{location}: {_parse_message(error)}") from error
    for message in _unsupported(config):
        raise ModelError(f"{location}: {message}")
    return config


def _parse_message(error: Exception) -> str:
    """Return the message of a protobuf error with its location, and close matches of an unknown name."""
    line, column = getattr(error, "GetLine", lambda: None)(), getattr(error, "GetColumn", lambda: None)()
    where = f"line {line}, column {column}: " if line else ""
    text = str(error)
    pool = descriptor_pool.Default()
    for pattern, what in ((_NO_FIELD, "field"), (_NO_VALUE, "value")):
        if match := pattern.search(text):
            type_name, name = match.groups()
            known = (
                pool.FindMessageTypeByName(type_name).fields_by_name
                if what == "field"
                else pool.FindEnumTypeByName(type_name).values_by_name
            )
            hint = did_you_mean(name, list(known))
            return f"{where}{type_name.rpartition('.')[2]} has no {what} {name!r}; {hint}".rstrip("; ")
    detail = (
        re.sub(r"^\d+:\d+ : ", "", text.strip()).splitlines()[0][:200]
        if text.strip()
        else "nested too deeply"
    )
    return f"{where}not a well-formed configuration ({detail})"


def _unsupported(config: Any) -> Iterator[str]:
    """Yield an error message for each unsupported field that is set."""
    set_fields = {field.name for field, _ in config.ListFields()}
    for name, advice in _UNSUPPORTED.items():
        if name in set_fields and not (name == "sequence_batching" and is_exported(config)):
            yield f"field {name}: {advice}"
    if config.model_transaction_policy.decoupled:
        yield (
            "field model_transaction_policy.decoupled: models that answer a request more than once are not served; "
            "export one with a single answer"
        )
    if config.model_operations.op_library_filename:
        yield (
            "field model_operations.op_library_filename: libraries of custom operators are not loaded from the "
            "configuration; pass them with --torch-library, and remove the field"
        )
    for agent in config.model_repository_agents.agents:
        if agent.name != "checksum":
            yield (
                f"field model_repository_agents: the agent {agent.name!r} is not supported, only checksum; run it on the "
                "files beforehand and remove it here"
            )
    for kind, tensors in (("input", config.input), ("output", config.output)):
        for tensor in tensors:
            yield from _unsupported_tensor(f"{kind} {tensor.name!r}", tensor)
    for index, group in enumerate(config.instance_group):
        if group.passive:
            yield f"field instance_group[{index}].passive: passive instances are not served; remove it"
    yield from _unsupported_backend(config)


def _unsupported_tensor(which: str, tensor: Any) -> Iterator[str]:
    if getattr(tensor, "allow_ragged_batch", False):
        yield (
            f"field allow_ragged_batch of {which}: requests of different shapes are not joined into one batch; "
            "set it to false to batch requests of equal shapes"
        )
    for name in ("is_shape_tensor", "is_non_linear_format_io"):
        if getattr(tensor, name):
            yield f"field {name} of {which}: only TensorRT supports it; serve the model's ONNX file instead"


def is_exported(config: Any) -> bool:
    """Return whether a model is a bundle that was exported, for Triton's Python backend or, with states, ONNX Runtime."""
    return bool(config.backend in ("python", "onnxruntime") and BUNDLE_PARAMETER in config.parameters)


def _unsupported_backend(config: Any) -> Iterator[str]:
    if is_exported(config):
        return
    if config.backend and config.backend not in BACKENDS:
        hint = did_you_mean(config.backend, list(BACKENDS))
        yield f"field backend: {config.backend!r} is not served here; export the model to ONNX ({hint})"
    if config.platform and config.platform not in PLATFORMS:
        advice = (
            "serve the models of the ensemble one by one"
            if config.platform == "ensemble"
            else f"export the model to ONNX ({did_you_mean(config.platform, list(PLATFORMS))})"
        )
        yield f"field platform: {config.platform!r} is not served here; {advice}"
    if config.backend and config.platform and PLATFORMS.get(config.platform) != config.backend:
        yield f"field platform: {config.platform!r} does not match the backend {config.backend!r}; remove one of them"


def checksums(config: Any, location: str) -> dict[str, str]:
    """Return the expected MD5 of files, by path in the model's folder, from the parameters of Triton's checksum agent."""
    sums = {}
    for agent in config.model_repository_agents.agents:
        for key, value in agent.parameters.items():
            algorithm, _, name = key.partition(":")
            if algorithm != "MD5" or not name:
                raise ModelError(
                    f"{location}: field model_repository_agents: {key!r} must have the form MD5:1/model.onnx"
                )
            sums[name] = value.strip().lower()
    return sums


def without_effect(config: Any) -> list[str]:
    """Return a note for each field that is set but has no effect here."""
    set_fields = {field.name for field, _ in config.ListFields()}
    notes = [
        f"{name} has no effect: {reason}" for name, reason in _WITHOUT_EFFECT.items() if name in set_fields
    ]
    unknown = sorted(
        name
        for name in config.parameters
        if name not in KNOWN_PARAMETERS and not name.startswith(FACT_PREFIX)
    )
    if unknown:
        notes.append(f"parameters without effect here: {', '.join(unknown)}")
    groups = config.instance_group
    if any(group.kind == pb.ModelInstanceGroup.KIND_GPU for group in groups):
        notes.append("instance_group has KIND_GPU: the model runs on the CPU here")
    group_fields = {field.name for group in groups for field, _ in group.ListFields()}
    notes += [
        f"instance_group.{name} has no effect: instances run as soon as they are free"
        for name in ("rate_limiter", "secondary_devices", "profile", "host_policy")
        if name in group_fields
    ]
    return notes


def backend_of(config: Any, version_folder: Path | None, location: str) -> str:
    """Return the backend of a model: the configured one, or that of the file name."""
    if config.backend:
        return BACKENDS[config.backend]
    if config.platform:
        return PLATFORMS[config.platform]
    named = config.default_model_filename
    for backend, file in FILES.items():
        path = version_folder / file if version_folder is not None else None
        exists = path is not None and (path.exists() or path.is_symlink())  # a broken link is reported later
        if named.endswith(Path(file).suffix) or (not named and exists):
            return backend
    if not named and version_folder is not None:
        found = sorted(entry.name for entry in version_folder.iterdir())[:5]
        content = f"has {', '.join(found)}" if found else "is empty"
        raise ModelError(
            f"there is no {' or '.join(FILES.values())} in {version_folder}, which {content}; copy the model there under one of "
            f"these names, or write default_model_filename and backend in {location}"
        )
    raise ModelError(
        f"{location}: field backend is missing, and the file name {named!r} does not tell it; "
        'write backend: "onnxruntime" or "pytorch"'
    )
