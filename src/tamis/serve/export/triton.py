"""Writes a bundle into a Triton model repository: NVIDIA Triton's Python backend runs it, and so does tamis serve."""

from __future__ import annotations

import shutil
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from google.protobuf import text_format

from tamis._base import UsageError, atomic_path
from tamis.bundle import Bundle
from tamis.engines import choose_chunk, find_engine
from tamis.serve.models.bundles import bundle_spec
from tamis.serve.models.config_text import BUNDLE_PARAMETER
from tamis.serve.models.triton_config import config_of

BUNDLE_FOLDER, BACKEND_FILE, GRAPH_FILE = "bundle", "model.py", "model.onnx"


def export_triton(
    bundle: Bundle,
    repository: Path,
    *,
    engine: str = "onnxruntime",
    instances: int = 1,
    threads: int = 1,
    delay_us: int = 0,
) -> Path:
    """Write a bundle as a model of a Triton repository, atomically; return its folder.

    A bundle with states is written for Triton's ONNX Runtime backend, as Triton keeps no states for its Python backend.
    """
    if not find_engine(engine).local:
        raise UsageError(
            f"the engine {engine} runs models elsewhere; export with an engine that runs in the server"
        )
    target = repository / bundle.name
    if target.exists():
        raise UsageError(f"{target} already exists: remove it, or export to another folder")
    spec = bundle_spec(bundle)
    if spec.sequences is not None and engine != "onnxruntime":
        raise UsageError(
            f"the bundle {bundle.name} has states, which NVIDIA Triton keeps for its ONNX Runtime backend but not for Python: "
            "export it with the engine onnxruntime"
        )
    if spec.batching is not None:
        spec = replace(spec, batching=replace(spec.batching, preferred=(choose_chunk(bundle.manifest),)))
    config = config_of(spec)
    config.ClearField("platform")
    if spec.sequences is not None:
        _describe_graph(config, bundle)
    else:
        config.backend = "python"
        config.ClearField("default_model_filename")
    del config.instance_group[:]
    group = config.instance_group.add(count=instances)
    group.kind = group.KIND_CPU
    if delay_us:
        batcher = config.dynamic_batching if spec.sequences is None else config.sequence_batching.oldest
        batcher.max_queue_delay_microseconds = delay_us
    parameters = {BUNDLE_PARAMETER: BUNDLE_FOLDER, "tamis_engine": engine, "tamis_threads": str(threads)}
    for name, value in parameters.items():
        config.parameters[name].string_value = value
    repository.mkdir(parents=True, exist_ok=True)
    with atomic_path(target) as part:
        version = part / "1"
        shutil.copytree(bundle.path, version / BUNDLE_FOLDER)
        if spec.sequences is not None:
            (version / GRAPH_FILE).write_bytes(bundle.model_bytes)
        else:
            source = files("tamis.serve.export") / "triton_model.py.in"
            (version / BACKEND_FILE).write_text(source.read_text(encoding="utf-8"), encoding="utf-8")
        (part / "config.pbtxt").write_text(text_format.MessageToString(config), encoding="utf-8")
    return target


def _describe_graph(config: Any, bundle: Bundle) -> None:
    """Write the shapes of the graph itself where they differ from those of the protocol: a value per row has no dimension."""
    signature = bundle.manifest.signature
    flat = {spec.name for spec in (*signature.inputs, *signature.outputs) if len(spec.shape) == 1}
    for state in config.sequence_batching.state:
        if state.input_name in flat:
            raise UsageError(
                f"the state {state.input_name!r} of the bundle {bundle.name} is one value per row, which Triton cannot keep: "
                "give it a second dimension of 1"
            )
    for tensor in (*config.input, *config.output):
        if tensor.name in flat:
            tensor.reshape.SetInParent()  # to no dimension
