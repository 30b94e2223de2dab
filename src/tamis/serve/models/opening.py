"""Opens the models in a folder: a bundle behind its gate, or the versions of a Triton model as configured."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tamis._base import ChecksumError, ModelError, UnsafeBundleError, did_you_mean
from tamis.engines import DEFAULT_ENGINE
from tamis.serve.models.bundles import open_bundle
from tamis.serve.models.config_text import (
    BUNDLE_PARAMETER,
    FILES,
    backend_of,
    checksums,
    is_exported,
    read_config,
)
from tamis.serve.models.folders import CONFIG, ModelFolder, ModelFormat, confine
from tamis.serve.models.model import Model
from tamis.serve.models.triton_config import (
    ResolvedConfig,
    confined,
    empty_config,
    resolve_config,
    versions_of,
)


@dataclass(frozen=True)
class BundleSettings:
    """How bundles run; a Triton model has its own configuration."""

    engine: str = DEFAULT_ENGINE
    instances: int = 1
    threads: int = 1
    dims: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # sizes that are compiled ahead


def open_models(model_folder: ModelFolder, settings: BundleSettings) -> list[Model]:
    """Open every served version; if one fails, none stays open."""
    if model_folder.problem:
        raise UnsafeBundleError(model_folder.problem)
    if model_folder.format is ModelFormat.BUNDLE:
        return [
            open_bundle(
                model_folder.folder, settings.engine, settings.instances, settings.threads, settings.dims
            )
        ]
    models: list[Model] = []
    try:
        for model in _each_version(model_folder, settings):
            models.append(model)  # noqa: PERF402 - those opened before a failure are closed
    except BaseException:
        for model in models:
            model.close()
        raise
    return models


def _each_version(model_folder: ModelFolder, settings: BundleSettings) -> Iterator[Model]:
    """Open the served versions of a Triton model; of a bundle that was exported for it, with the bundle's own engine."""
    path = model_folder.folder / CONFIG
    confine(path, model_folder.roots)
    config = read_config(path) if path.exists() else empty_config()
    if not is_exported(config):
        resolved, versions = read_configuration(model_folder)
        for version in versions:
            file = model_folder.folder / version / resolved.config.default_model_filename
            yield _open(resolved, version, _model_file(model_folder, file))
        return
    parameters = {name: value.string_value for name, value in config.parameters.items()}
    instances = max([group.count for group in config.instance_group], default=settings.instances)
    for version in versions_of(config, model_folder.folder):
        folder = confined(model_folder.folder / version, parameters[BUNDLE_PARAMETER], model_folder.roots)
        engine = parameters.get("tamis_engine", settings.engine)
        model = open_bundle(folder, engine, max(1, instances), settings.threads, settings.dims)
        model.spec = replace(model.spec, name=model_folder.name, version=version)
        model.config = config
        yield model


def read_configuration(model_folder: ModelFolder) -> tuple[ResolvedConfig, list[str]]:
    """Return the complete configuration of a Triton model, and its served versions."""
    path = model_folder.folder / CONFIG
    confine(path, model_folder.roots)
    config = read_config(path) if path.exists() else empty_config()
    if config.name and config.name != model_folder.name:
        raise ModelError(
            f"{path}: field name is {config.name!r}, but the folder is {model_folder.name!r}: make them equal"
        )
    config.name = model_folder.name
    versions = versions_of(config, model_folder.folder)
    if not versions:
        raise ModelError(
            f"{model_folder.folder} has no version; put the model into {model_folder.folder.name}/1/model.onnx"
        )
    _verify_checksums(model_folder, config, str(path))
    newest = model_folder.folder / versions[-1]
    backend = backend_of(config, newest, str(path))
    if not config.input or not config.output:
        if backend != "onnxruntime":
            raise ModelError(
                f"{path}: field input or output is missing; only ONNX models declare them in the file"
            )
        from tamis.serve.models.onnx_models import complete_config

        file = newest / (config.default_model_filename or FILES[backend])
        complete_config(config, _model_file(model_folder, file))
    return resolve_config(config, str(path), model_folder.folder, backend, model_folder.roots), versions


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


def _open(resolved: ResolvedConfig, version: str, file: Path) -> Model:
    opener: Any
    if resolved.backend == "onnxruntime":
        from tamis.serve.models.onnx_models import open_onnx as opener
    else:
        from tamis.serve.models.torchscript_models import open_torchscript as opener
    model: Model = opener(resolved, version, file)
    return model
