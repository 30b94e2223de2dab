"""What a client sends along when it loads a model: a configuration, and files, instead of those in the repository."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from tamis._base import ModelError, TamisError
from tamis.serve.models.config_text import REQUEST_CONFIG, parse_json_config
from tamis.serve.models.folders import ModelFolder, ModelFormat
from tamis.serve.models.model import Model, OpeningSettings
from tamis.serve.models.opening import open_models
from tamis.serve.models.triton_config import confined
from tamis.serve.protocol.messages import Fault, Refusal

FILE_PARAMETER = "file:"  # followed by the path in the model's folder, such as file:1/model.onnx


@dataclass(frozen=True)
class LoadOverride:
    """A configuration in JSON, and files by path; with files, nothing is read from the repository."""

    config: str
    files: Mapping[str, bytes] = field(default_factory=dict)


def load_override(parameters: Mapping[str, str | bytes]) -> LoadOverride | None:
    """Return what the parameters of a load request override; raise Refusal for other parameters."""
    config, files = parameters.get("config"), {}
    for name, value in parameters.items():
        if name.startswith(FILE_PARAMETER) and isinstance(value, bytes):
            files[name.removeprefix(FILE_PARAMETER)] = value
        elif name != "config":
            raise Refusal(
                Fault.INVALID,
                f"the parameter {name[:100]!r} is not known; a load request may have config, and file:PATH with the bytes of a file",
            )
    if config is None:
        if files:
            raise Refusal(
                Fault.INVALID,
                "files in a load request need the parameter config, with the configuration as JSON",
            )
        return None
    if not isinstance(config, str):
        raise Refusal(Fault.INVALID, "the parameter config must be a string that contains JSON")
    return LoadOverride(config, files)


def open_configured(folder: ModelFolder, settings: OpeningSettings, sent: LoadOverride | None) -> list[Model]:
    """Open the model in a folder, with the configuration that was sent, if any."""
    config = None if sent is None else parse_json_config(sent.config, REQUEST_CONFIG)
    return open_models(folder, settings, config)


def open_sent(name: str, settings: OpeningSettings, sent: LoadOverride) -> list[Model]:
    """Open a model with the files and the configuration that were sent."""
    config = parse_json_config(sent.config, REQUEST_CONFIG)
    with TemporaryDirectory(prefix="tamis-load-") as directory:
        root = Path(directory) / name
        root.mkdir()
        for path, content in sent.files.items():
            try:
                target = confined(root, path, (root,))
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
            except (OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or str(error)
                raise ModelError(f"Invalid file path {path[:100]!r}: {reason}") from error
        try:
            return open_models(
                ModelFolder(name, root, (root,), ModelFormat.TRITON, sent=True), settings, config
            )
        except TamisError as error:  # the temporary folder would mislead
            raise ModelError(str(error).replace(f"{root}/", "").replace(str(root), "the request")) from error
