"""`config.pbtxt` as text: read, with the near misses of what is misspelt, and refused where it asks for what is not served."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pool, text_format
from tritonclient.grpc import model_config_pb2 as pb

from tamis._base import ModelError, UnsafeBundleError, did_you_mean, human_bytes

BYTES_MOST = 1_000_000
BUNDLE = "tamis_bundle"  # the parameter that names the folder of an exported bundle, within its version's
BACKENDS = {"onnxruntime": "onnxruntime", "pytorch": "pytorch"}
PLATFORMS = {"onnxruntime_onnx": "onnxruntime", "pytorch_libtorch": "pytorch"}
FILES = {"onnxruntime": "model.onnx", "pytorch": "model.pt"}
_NO_FIELD = re.compile(r'Message type "([\w.]+)" has no field named "(\w+)"')
_NO_VALUE = re.compile(r'Enum type "([\w.]+)" has no value named (\w+)')

# Fields that change what a model computes, and what to do where they are set.
_UNSUPPORTED = {
    "ensemble_scheduling": "ensembles are not served; serve the models one by one and chain them in the client",
    "sequence_batching": "models that keep a state between requests are not served; give the state in and out as tensors",
    "batch_input": "inputs that are made of a ragged batch are not served; pad the inputs in the client",
    "batch_output": "outputs that are scattered over a ragged batch are not served; pad the inputs in the client",
    "runtime": "another runtime of a backend cannot be chosen; remove the field",
}
# Fields that change how fast a model is on other machines, at most.
_WITHOUT_EFFECT = {
    "optimization": "how the graph is optimised is ONNX Runtime's own choice here",
    "response_cache": "answers are not cached",
    "cc_model_filenames": "models for single GPU generations are not chosen",
    "metric_tags": "metrics carry no further tags",
    "model_metrics": "histograms keep their own buckets",
}


def read_config(path: Path) -> Any:
    """Read a configuration; refuse what cannot be served as it asks."""
    try:
        size = path.stat().st_size
        if size > BYTES_MOST:
            raise UnsafeBundleError(
                f"{path} is {human_bytes(size)}; a configuration may have {human_bytes(BYTES_MOST)} at most"
            )
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"cannot read {path}: {error}") from error
    return parse_config(text, str(path))


def parse_config(text: str, place: str) -> Any:
    """Parse a configuration; `place` is named where it is wrong."""
    config = pb.ModelConfig()
    try:
        text_format.Parse(text, config)
    except (text_format.ParseError, RecursionError) as error:
        raise ModelError(f"{place}: {_told(error)}") from error
    for told in _unsupported(config):
        raise ModelError(f"{place}: {told}")
    return config


def _told(error: Exception) -> str:
    """Return protobuf's error with its place, and what was meant perhaps."""
    line, column = getattr(error, "GetLine", lambda: None)(), getattr(error, "GetColumn", lambda: None)()
    where = f"line {line}, column {column}: " if line else ""
    text = str(error)
    pool = descriptor_pool.Default()
    for pattern, what in ((_NO_FIELD, "field"), (_NO_VALUE, "value")):
        if found := pattern.search(text):
            kind, name = found.groups()
            known = (
                pool.FindMessageTypeByName(kind).fields_by_name
                if what == "field"
                else pool.FindEnumTypeByName(kind).values_by_name
            )
            hint = did_you_mean(name, list(known))
            return f"{where}{kind.rpartition('.')[2]} has no {what} {name!r}; {hint}".rstrip("; ")
    told = (
        re.sub(r"^\d+:\d+ : ", "", text.strip()).splitlines()[0][:200]
        if text.strip()
        else "nested too deeply"
    )
    return f"{where}not a well-formed configuration ({told})"


def _unsupported(config: Any) -> Iterator[str]:
    set_fields = {field.name for field, _ in config.ListFields()}
    for name, told in _UNSUPPORTED.items():
        if name in set_fields:
            yield f"field {name}: {told}"
    if config.model_transaction_policy.decoupled:
        yield (
            "field model_transaction_policy.decoupled: models with any number of answers for a request are not "
            "served; export one that answers once"
        )
    if config.model_operations.op_library_filename:
        yield (
            "field model_operations.op_library_filename: libraries of custom operators are not loaded; export the "
            "model with standard operators"
        )
    for agent in config.model_repository_agents.agents:
        if agent.name != "checksum":
            yield (
                f"field model_repository_agents: there is no agent {agent.name!r}; checksum is known, do what others do "
                "before and remove them"
            )
    for kind, tensors in (("input", config.input), ("output", config.output)):
        for tensor in tensors:
            yield from _unsupported_tensor(f"{kind} {tensor.name!r}", tensor)
    for index, group in enumerate(config.instance_group):
        if group.passive:
            yield f"field instance_group[{index}].passive: instances that do not run by themselves are not served; remove it"
    yield from _unsupported_backend(config)


def _unsupported_tensor(which: str, tensor: Any) -> Iterator[str]:
    if getattr(tensor, "allow_ragged_batch", False):
        yield (
            f"field allow_ragged_batch of {which}: requests of different shapes are not joined into one batch; "
            "set it to false, and they are run in batches of one shape each"
        )
    for name in ("is_shape_tensor", "is_non_linear_format_io"):
        if getattr(tensor, name):
            yield f"field {name} of {which}: it is TensorRT's; serve the model's ONNX file instead"


def is_exported(config: Any) -> bool:
    """Tell whether a model is a bundle that was exported for Triton's Python backend."""
    return bool(config.backend == "python" and BUNDLE in config.parameters)


def _unsupported_backend(config: Any) -> Iterator[str]:
    if is_exported(config):
        return
    if config.backend and config.backend not in BACKENDS:
        hint = did_you_mean(config.backend, list(BACKENDS))
        yield f"field backend: {config.backend!r} is not served here; export the model to ONNX ({hint})"
    if config.platform and config.platform not in PLATFORMS:
        told = (
            "serve the models of the ensemble one by one"
            if config.platform == "ensemble"
            else f"export the model to ONNX ({did_you_mean(config.platform, list(PLATFORMS))})"
        )
        yield f"field platform: {config.platform!r} is not served here; {told}"
    if config.backend and config.platform and PLATFORMS.get(config.platform) != config.backend:
        yield f"field platform: {config.platform!r} does not go with the backend {config.backend!r}; remove one of them"


def checksums(config: Any, place: str) -> dict[str, str]:
    """Return the MD5 that files have to have, by their path in the model's folder, as Triton's checksum agent reads them."""
    found = {}
    for agent in config.model_repository_agents.agents:
        for key, value in agent.parameters.items():
            algorithm, _, name = key.partition(":")
            if algorithm != "MD5" or not name:
                raise ModelError(
                    f"{place}: field model_repository_agents: {key!r} is not of the form MD5:1/model.onnx"
                )
            found[name] = value.strip().lower()
    return found


def without_effect(config: Any) -> list[str]:
    """Return a sentence for each field that is set and changes nothing here."""
    set_fields = {field.name for field, _ in config.ListFields()}
    notes = [f"{name} has no effect: {told}" for name, told in _WITHOUT_EFFECT.items() if name in set_fields]
    groups = config.instance_group
    if any(group.kind == pb.ModelInstanceGroup.KIND_GPU for group in groups):
        notes.append("instance_group has KIND_GPU: the model runs on the CPU here")
    used = {field.name for group in groups for field, _ in group.ListFields()}
    notes += [
        f"instance_group.{name} has no effect: instances run as soon as they are free"
        for name in ("rate_limiter", "secondary_devices", "profile", "host_policy")
        if name in used
    ]
    return notes


def backend_of(config: Any, version_folder: Path | None, place: str) -> str:
    """Return what runs a model: what is said, or what the file's name tells."""
    if config.backend:
        return BACKENDS[config.backend]
    if config.platform:
        return PLATFORMS[config.platform]
    named = config.default_model_filename
    for backend, file in FILES.items():
        is_there = version_folder is not None and (version_folder / file).exists()
        if named.endswith(Path(file).suffix) or (not named and is_there):
            return backend
    names = [named] if named else list(FILES.values())
    raise ModelError(
        f"{place}: field backend is missing, and no version has a file {' or '.join(names)}; "
        'write backend: "onnxruntime" or "pytorch"'
    )
