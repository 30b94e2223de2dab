"""From a folder to models that are ready: bundles behind the gate, models of a Triton repository as configured."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tamis._base import ChecksumError, ModelError, UnsafeBundleError, did_you_mean
from tamis.engines import DEFAULT_ENGINE
from tamis.serve.models.bundles import open_bundle
from tamis.serve.models.config_text import BUNDLE, FILES, backend_of, checksums, is_exported, read_config
from tamis.serve.models.folders import CONFIG, ModelFolder, ModelFormat, confine
from tamis.serve.models.model import Model
from tamis.serve.models.triton_config import ResolvedConfig, confined, empty_config, understand, versions_of


@dataclass(frozen=True)
class BundleSettings:
    """How bundles are run; a Triton model's own configuration says it itself."""

    engine: str = DEFAULT_ENGINE
    instances: int = 1
    threads: int = 1


def open_models(place: ModelFolder, settings: BundleSettings) -> list[Model]:
    """Open every version that is served; all are ready, or none."""
    if place.trouble:
        raise UnsafeBundleError(place.trouble)
    if place.kind is ModelFormat.BUNDLE:
        return [open_bundle(place.folder, settings.engine, settings.instances, settings.threads)]
    exported = _exported(place, settings)
    if exported is not None:
        return exported
    configured, versions = read_place(place)
    models: list[Model] = []
    try:
        for version in versions:
            models.append(_open(configured, version, _file(place, configured, version)))  # noqa: PERF401 - those before are closed
    except BaseException:
        for model in models:
            model.close()
        raise
    return models


def _exported(place: ModelFolder, settings: BundleSettings) -> list[Model] | None:
    """Open a bundle that was exported for Triton's Python backend; it is run here as any bundle, by its own engine."""
    path = place.folder / CONFIG
    confine(path, place.roots)
    config = read_config(path) if path.exists() else empty_config()
    if not is_exported(config):
        return None
    told = {name: value.string_value for name, value in config.parameters.items()}
    instances = max([group.count for group in config.instance_group], default=settings.instances)
    models = []
    for version in versions_of(config, place.folder):
        folder = confined(place.folder / version, told[BUNDLE], place.roots)
        engine = told.get("tamis_engine", settings.engine)
        model = open_bundle(folder, engine, max(1, instances), settings.threads)
        model.spec = replace(model.spec, name=place.name, version=version)
        model.config = config
        models.append(model)
    return models


def read_place(place: ModelFolder) -> tuple[ResolvedConfig, list[str]]:
    """Return the complete configuration of a Triton model, and which versions are served."""
    path = place.folder / CONFIG
    confine(path, place.roots)
    config = read_config(path) if path.exists() else empty_config()
    if config.name and config.name != place.name:
        raise ModelError(
            f"{path}: field name is {config.name!r}, the folder is {place.name!r}: make them the same"
        )
    config.name = place.name
    versions = versions_of(config, place.folder)
    if not versions:
        raise ModelError(
            f"{place.folder} has no folder of a version, such as {place.folder.name}/1/model.onnx"
        )
    _check_sums(place, config, str(path))
    newest = place.folder / versions[-1]
    backend = backend_of(config, newest, str(path))
    if not config.input or not config.output:
        if backend != "onnxruntime":
            raise ModelError(
                f"{path}: field input or output is missing; only ONNX models tell them themselves"
            )
        from tamis.serve.models.onnx_models import complete

        file = newest / (config.default_model_filename or FILES[backend])
        complete(config, _checked(place, file))
    return understand(config, str(path), place.folder, backend, place.roots), versions


def _check_sums(place: ModelFolder, config: Any, where: str) -> None:
    """Hold files against their sums, as Triton's checksum agent does: CMS's repositories have one for every model."""
    for name, wanted in checksums(config, where).items():
        try:
            file = confined(place.folder, name, place.roots)
            with file.open("rb") as handle:
                found = hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
        except (OSError, ValueError) as error:
            raise ModelError(
                f"{where}: field model_repository_agents: cannot read {name!r}: {error}"
            ) from error
        if found != wanted:
            raise ChecksumError(
                f"{file} is not the file that {where} names (MD5 {found}, not {wanted[:40]}); copy it again"
            )


def _file(place: ModelFolder, configured: ResolvedConfig, version: str) -> Path:
    return _checked(place, place.folder / version / configured.config.default_model_filename)


def _checked(place: ModelFolder, file: Path) -> Path:
    """Return a model's file; Triton lets a folder of that name hold it, with the data beside it."""
    if file.is_dir():
        file /= file.name
    confine(file, place.roots)
    if not file.is_file():
        near = did_you_mean(
            file.name, [entry.name for entry in file.parent.iterdir()] if file.parent.is_dir() else []
        )
        raise ModelError(f"there is no {file}; {near or 'copy it there, or set default_model_filename'}")
    return file


def _open(configured: ResolvedConfig, version: str, file: Path) -> Model:
    opener: Any
    if configured.backend == "onnxruntime":
        from tamis.serve.models.onnx_models import open_onnx as opener
    else:
        from tamis.serve.models.torchscript_models import open_torchscript as opener
    model: Model = opener(configured, version, file)
    return model
