"""Opens the models in a folder: a bundle behind its gate, or the versions of a Triton model as configured."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tritonclient.grpc import model_config_pb2 as pb

from tamis._base import ChecksumError, ModelError, did_you_mean
from tamis.engines import DEFAULT_ENGINE
from tamis.serve.batching import MAX_SEQUENCES, SEQUENCE_IDLE_US, Batching, SequencePolicy
from tamis.serve.models.bundles import open_bundle
from tamis.serve.models.config_text import (
    BUNDLE_PARAMETER,
    ENGINE_PARAMETER,
    FILES,
    REQUEST_CONFIG,
    THREADS_PARAMETER,
    backend_of,
    checksums,
    is_exported,
    read_config,
    without_effect,
)
from tamis.serve.models.folders import CONFIG, MANIFEST, ModelFolder, ModelFormat, confine, misplaced_files
from tamis.serve.models.model import Model, ModelSpec, OpeningSettings
from tamis.serve.models.triton_config import (
    ResolvedConfig,
    batching_of,
    confined,
    empty_config,
    resolve_config,
    versions_of,
)


def open_models(
    model_folder: ModelFolder, settings: OpeningSettings, override: Any | None = None
) -> list[Model]:
    """Open every served version; if one fails, none stays open. `override` is a configuration instead of the folder's."""
    if model_folder.problem:
        raise ModelError(model_folder.problem)
    if model_folder.format is ModelFormat.BUNDLE:
        if override is not None and override.ListFields():
            raise ModelError(
                f"{model_folder.name!r} is a bundle, which has no config.pbtxt to override: load it without a configuration"
            )
        engine, instances, threads = settings.engine, settings.instances or 1, settings.threads or 1
        model = open_bundle(
            model_folder.folder,
            engine,
            instances,
            threads,
            settings.dims,
            sequences=settings.max_sequences != 0,
        )
        model.spec = _limited(model.spec, settings)
        return [model]
    models: list[Model] = []
    try:
        for model in _each_version(model_folder, settings, override):
            models.append(model)  # noqa: PERF402 - those opened before a failure are closed
    except BaseException:
        for model in models:
            model.close()
        raise
    return models


def _each_version(
    model_folder: ModelFolder, settings: OpeningSettings, override: Any | None
) -> Iterator[Model]:
    """Open the served versions of a Triton model; an exported bundle passes its own gate."""
    path = model_folder.folder / CONFIG
    confine(path, model_folder.roots)
    if override is not None:
        config, location = override, REQUEST_CONFIG
    else:
        config, location = read_config(path) if path.exists() else empty_config(), str(path)
    ignored = apply_settings(config, settings)
    engine = config.parameters[ENGINE_PARAMETER].string_value if ENGINE_PARAMETER in config.parameters else ""
    settings = replace(settings, engine=engine or DEFAULT_ENGINE)
    if is_exported(config):
        yield from _exported_versions(model_folder, config, location, settings, ignored)
        return
    configured, versions = _complete(model_folder, config, location, ignored)
    if model_folder.sent and configured.backend == "pytorch":
        raise ModelError(
            "TorchScript files are programs, which the server takes from its repository only: put the model there"
        )
    for version in versions:
        file = model_folder.folder / version / configured.config.default_model_filename
        yield _open(configured, version, _model_file(model_folder, file), settings)


def apply_settings(config: Any, settings: OpeningSettings) -> list[str]:
    """Write what the command line says into a configuration; return notes on the settings of the file that it overrides."""
    notes = []

    def override(option: str, names: Sequence[str], value: str) -> None:
        before = next((config.parameters[n].string_value for n in names if n in config.parameters), "")
        if before not in ("", value):
            notes.append(f"parameters {names[0]} {before}: overridden by {option} {value}")
        for name in names:
            config.parameters[name].string_value = value

    if settings.engine != DEFAULT_ENGINE:
        override("--engine", (ENGINE_PARAMETER,), settings.engine)
    if settings.threads is not None:
        override("--threads", (THREADS_PARAMETER, "intra_op_thread_count"), str(settings.threads))
    if settings.instances is not None:
        if config.instance_group:
            notes.append(f"instance_group: overridden by --instances {settings.instances}")
        del config.instance_group[:]
        config.instance_group.add(
            name=config.name, kind=pb.ModelInstanceGroup.KIND_CPU, count=settings.instances
        )
    return notes


def _exported_versions(
    model_folder: ModelFolder, config: Any, location: str, settings: OpeningSettings, ignored: Sequence[str]
) -> Iterator[Model]:
    """Open the bundles in a model that was exported for Triton, with its engine, threads, instances and queue."""
    parameters = {name: value.string_value for name, value in config.parameters.items()}
    instances = max([group.count for group in config.instance_group], default=1)
    threads = parameters.get(THREADS_PARAMETER, "1")
    if not threads.isdecimal() or not int(threads):
        raise ModelError(
            f"{location}: parameters {THREADS_PARAMETER!r} is {threads[:40]!r}; write an integer from 1"
        )
    batching = batching_of(config, location)
    notes = [*ignored, *without_effect(config)]
    if config.model_warmup:
        notes.append("model_warmup has no effect: a bundle is warmed up with its golden events")
    versions = versions_of(config, model_folder.folder)
    if not versions:
        raise ModelError(f"{model_folder.folder} has no version; export the bundle again")
    for version in versions:
        folder = confined(model_folder.folder / version, parameters[BUNDLE_PARAMETER], model_folder.roots)
        keeps_states = config.HasField("sequence_batching") and settings.max_sequences != 0
        model = open_bundle(
            folder, settings.engine, max(1, instances), int(threads), settings.dims, sequences=keeps_states
        )
        spec = _limited(model.spec, settings, config.sequence_batching if keeps_states else None)
        if 0 < config.max_batch_size < spec.max_batch:
            spec = replace(spec, max_batch=config.max_batch_size)
        if spec.batching is not None:
            merged = spec.batching.max_merged_rows
            if batching is None and spec.sequences is not None:  # a model has only one of the two batchers
                batching = Batching(
                    delay_ns=1000 * config.sequence_batching.oldest.max_queue_delay_microseconds
                )
            queue = replace(batching, preferred=(), max_merged_rows=merged) if batching is not None else None
            spec = replace(spec, batching=queue)
        texts = [spec.facts.get("ignored", ""), *notes]
        facts = {**spec.facts, "configuration": location, "ignored": "; ".join(filter(None, texts))}
        facts = {name: text for name, text in facts.items() if text}
        model.spec = replace(spec, name=model_folder.name, version=version, facts=facts)
        describes_states = config.HasField("sequence_batching")
        model.config = config if describes_states == (spec.sequences is not None) else None
        yield model


def _limited(spec: ModelSpec, settings: OpeningSettings, batcher: Any | None = None) -> ModelSpec:
    """Return an interface with the limits of its sequences: those of the command line, or else of `config.pbtxt`."""
    if spec.sequences is None:
        return spec
    configured = (
        (batcher.oldest.max_candidate_sequences, batcher.max_sequence_idle_microseconds)
        if batcher
        else (0, 0)
    )
    return replace(
        spec,
        sequences=SequencePolicy(
            spec.sequences.states,
            settings.max_sequences or configured[0] or MAX_SEQUENCES,
            settings.sequence_idle_us or configured[1] or SEQUENCE_IDLE_US,
        ),
    )


def _complete(
    model_folder: ModelFolder, config: Any, location: str, ignored: Sequence[str]
) -> tuple[ResolvedConfig, list[str]]:
    """Return the complete configuration of a Triton model, and its served versions."""
    if config.name and config.name != model_folder.name:
        raise ModelError(
            f"{location}: field name is {config.name!r}, but the model is {model_folder.name!r}: make them equal"
        )
    config.name = model_folder.name
    versions = versions_of(config, model_folder.folder)
    if not versions:
        raise ModelError(_no_version(model_folder))
    _verify_checksums(model_folder, config, location)
    newest = model_folder.folder / versions[-1]
    backend = backend_of(config, newest, location)
    if not config.input or not config.output:
        if backend != "onnxruntime":
            raise ModelError(
                f"{location}: field input or output is missing; only ONNX models declare them in the file"
            )
        from tamis.serve.models.onnx_models import complete_config

        file = newest / (config.default_model_filename or FILES[backend])
        complete_config(config, _model_file(model_folder, file))
    folder, roots = model_folder.folder, model_folder.roots
    return resolve_config(config, location, folder, backend, roots, ignored), versions


def _no_version(model_folder: ModelFolder) -> str:
    """Return the error for a folder without a folder of a version."""
    folder = model_folder.folder
    if folder.suffix == ".tamis":
        return f"{folder} has no {MANIFEST}, so it is not a whole bundle; copy the bundle again or pack its model"
    for file in misplaced_files(folder):
        target = FILES["onnxruntime" if file.suffix == ".onnx" else "pytorch"]
        return f"{folder} has no version; move {file} to {folder / '1' / target}"
    return f"{folder} has no version; put the model into {folder / '1' / 'model.onnx'}"


def _verify_checksums(model_folder: ModelFolder, config: Any, where: str) -> None:
    """Compare files with their MD5, as Triton's checksum agent does: CMS's repositories have one for every model."""
    for name, expected in checksums(config, where).items():
        try:
            file = confined(model_folder.folder, name, model_folder.roots)
            with file.open("rb") as handle:
                md5 = hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        except (OSError, ValueError) as error:
            raise ModelError(
                f"{where}: field model_repository_agents: cannot read {name!r}: {error}"
            ) from error
        if md5 != expected:
            raise ChecksumError(
                f"{file} has the MD5 {md5}, but {where} expects {expected[:40]}: copy the file again"
            )


def _model_file(model_folder: ModelFolder, file: Path) -> Path:
    """Return a model's file; as in Triton, it may be in a folder of the same name, together with its external data."""
    if file.is_dir():
        file /= file.name
    confine(file, model_folder.roots)
    if not file.is_file():
        hint = did_you_mean(
            file.name, [entry.name for entry in file.parent.iterdir()] if file.parent.is_dir() else []
        )
        raise ModelError(f"there is no file {file}; {hint or 'copy it there, or set default_model_filename'}")
    return file


def _open(configured: ResolvedConfig, version: str, file: Path, settings: OpeningSettings) -> Model:
    if configured.backend == "pytorch":
        if settings.engine not in (DEFAULT_ENGINE, "torch"):
            raise ModelError(
                f"the engine {settings.engine} cannot serve {configured.config.name!r}: {file} is TorchScript, which only torch "
                "runs; leave out the engine for this model, or export it to ONNX"
            )
        from tamis.serve.models.torchscript_models import open_torchscript as opener
    elif settings.engine in (DEFAULT_ENGINE, "onnxruntime"):
        from tamis.serve.models.onnx_models import open_onnx as opener
    else:
        from tamis.serve.models.onnx_engines import open_on_engine as opener
    return opener(configured, version, file, settings)
