"""The bundle on disk: a directory that is checked when read and written atomically."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import onnx

from tamis._base import (
    BundleError,
    ChecksumError,
    UnsafeBundleError,
    UsageError,
    atomic_path,
    did_you_mean,
    human_bytes,
    parse_document,
    registry,
    sha256,
)
from tamis.bundle.golden import Golden
from tamis.bundle.manifest import FileEntry, Manifest, WorkingPoint
from tamis.bundle.model import MODEL_BYTES_LIMIT, count_parameters, parse_model, read_signature

MODEL_FILE, MANIFEST_FILE, GOLDEN_FILE, CARD_FILE = (
    "model.onnx",
    "manifest.json",
    "golden.safetensors",
    "CARD.md",
)
REQUIRED_FILES = (MODEL_FILE, GOLDEN_FILE)
FIRMWARE_FILE = (
    "firmware.json"  # what `tamis firmware --into-bundle` proved, if the model is meant for firmware
)
MANIFEST_BYTES_LIMIT = 10_000_000
BUNDLE_GROUP = "tamis.bundles"


@dataclass(frozen=True)
class Bundle:
    """One model, ready for a trigger: its directory and its manifest. Opening verifies the checksums."""

    path: Path
    manifest: Manifest

    @classmethod
    def open(cls, where: str | Path) -> Bundle:
        """Open a bundle by path, or a shipped one by name; reject changed files and links out of the bundle."""
        path = locate(where)
        manifest_path = path / MANIFEST_FILE
        if not manifest_path.is_file():
            raise BundleError(
                f"{path} is not a bundle: it has no {MANIFEST_FILE}; create one with `tamis pack`"
            )
        _reject_link(manifest_path)
        if manifest_path.stat().st_size > MANIFEST_BYTES_LIMIT:
            raise UnsafeBundleError(f"{manifest_path} is larger than {human_bytes(MANIFEST_BYTES_LIMIT)}")
        try:
            text = manifest_path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise BundleError(f"cannot read {manifest_path}: {error}") from error
        manifest = parse_document(text, Manifest, str(manifest_path))
        _check_files(path, manifest)
        return cls(path, manifest)

    @property
    def name(self) -> str:
        """Return the name of the bundle."""
        return self.manifest.name

    @cached_property
    def model_bytes(self) -> bytes:
        """Return the ONNX model, with its checksum, validity and signature checked, so that a runtime can load it."""
        data = self._bytes(MODEL_FILE)
        self._match(parse_model(data, str(self.path / MODEL_FILE)))
        return data

    @property
    def model(self) -> onnx.ModelProto:
        """Return the ONNX model, parsed and checked."""
        return parse_model(self.model_bytes, str(self.path / MODEL_FILE))

    @cached_property
    def golden(self) -> Golden:
        """Return the golden inputs and outputs."""
        return Golden.parse(self._bytes(GOLDEN_FILE), self.manifest.signature, self.path / GOLDEN_FILE)

    @property
    def golden_events(self) -> int:
        """Return the number of golden events; 1 for a model without rows."""
        return len(next(iter(self.golden.inputs.values()))) if self.manifest.signature.rows != "none" else 1

    def _bytes(self, name: str) -> bytes:
        """Read a file once and verify the checksum of the bytes that are returned."""
        file = self.path / name
        try:
            data = file.read_bytes()
        except OSError as error:
            raise BundleError(f"cannot read {file}: {error.strerror or error}") from error
        if hashlib.sha256(data).hexdigest() != self.manifest.files[name].sha256:
            raise ChecksumError(f"{file} was changed while it was open; copy the bundle again")
        return data

    def _match(self, model: onnx.ModelProto) -> None:
        """Reject a graph whose inputs and outputs differ from the manifest's in name, type or order."""
        actual = read_signature(model, str(self.path / MODEL_FILE))
        for kind, expected_specs, actual_specs in (
            ("inputs", self.manifest.signature.inputs, actual.inputs),
            ("outputs", self.manifest.signature.outputs, actual.outputs),
        ):
            expected = ", ".join(f"{spec.name} ({spec.dtype})" for spec in expected_specs)
            found = ", ".join(f"{spec.name} ({spec.dtype})" for spec in actual_specs)
            if found != expected:
                raise BundleError(
                    f"{self.path / MANIFEST_FILE}: field signature.{kind}: declares {expected}, the graph has {found}; pack the bundle again"
                )

    @property
    def parameters(self) -> dict[str, int]:
        """Return the number of parameters of each part of the model, counted from the weights."""
        return count_parameters(self.model)

    @property
    def card(self) -> str:
        """Return the model card."""
        return self.text(CARD_FILE) if CARD_FILE in self.manifest.files else ""

    def text(self, name: str) -> str:
        """Return the contents of a text file of the bundle."""
        if name not in self.manifest.files:
            hint = did_you_mean(name, self.manifest.files)
            raise UsageError(f"the bundle {self.name} has no file {name!r}; {hint}".rstrip("; "))
        try:
            return self._bytes(name).decode("utf-8")
        except UnicodeDecodeError as error:
            raise BundleError(f"{self.path / name} is not a text file: {error}") from error


def locate(where: str | Path) -> Path:
    """Return the directory of a bundle given by path, or of a shipped one given by name."""
    path = Path(where)
    if path.is_dir():
        return path
    shipped = registry.names(BUNDLE_GROUP)
    if str(where) in shipped:
        return Path(registry.load(BUNDLE_GROUP, str(where), "shipped bundle")())
    if path.is_file():
        raise BundleError(
            f"{path} is a file, but a bundle is a directory; `tamis pack {path}` packs a model into one"
        )
    neighbours = sorted(entry.name for entry in path.parent.glob("*.tamis")) if path.parent.is_dir() else []
    hint = did_you_mean(path.name, [*neighbours, *shipped])
    raise BundleError(f"there is no bundle {str(where)!r}; {hint}".rstrip("; "))


def write_bundle(
    target: Path,
    manifest: Manifest,
    model: bytes,
    golden: Golden,
    extra: Mapping[str, str] | None = None,
    check: Callable[[Bundle], object] | None = None,
) -> Bundle:
    """Write a bundle atomically: at `target` it is complete and has passed `check`, or it is absent."""
    check_target(target)
    with atomic_path(target) as part:
        part.mkdir()
        (part / MODEL_FILE).write_bytes(model)
        (part / GOLDEN_FILE).write_bytes(golden.to_bytes())
        for name, text in (extra or {}).items():
            (part / name).write_text(text, encoding="utf-8")
        entries = {
            file.name: FileEntry(sha256=sha256(file), bytes=file.stat().st_size)
            for file in sorted(part.iterdir())
        }
        complete = manifest.model_copy(update={"files": entries})
        document = json.dumps(complete.model_dump(mode="json"), indent=2, allow_nan=False)
        (part / MANIFEST_FILE).write_text(document + "\n", encoding="utf-8")
        if check is not None:
            check(Bundle.open(part))
    return Bundle.open(target)


def check_target(target: Path) -> None:
    """Raise UsageError if `target` exists and is not a bundle; call this before long work."""
    is_bundle = target.is_dir() and ((target / MANIFEST_FILE).is_file() or not any(target.iterdir()))
    if (target.exists() or target.is_symlink()) and (target.is_symlink() or not is_bundle):
        raise UsageError(f"{target} exists and is not a bundle; choose another path or remove it")


def add_texts(bundle: Bundle, texts: Mapping[str, str], target: Path | None = None) -> Bundle:
    """Add text files, such as a model card, to a bundle or a copy of it, which is written again with their checksums."""
    texts_before = {name: bundle.text(name) for name in bundle.manifest.files if name not in REQUIRED_FILES}
    return write_bundle(
        target or bundle.path, bundle.manifest, bundle.model_bytes, bundle.golden, {**texts_before, **texts}
    )


def with_working_points(bundle: Bundle, points: Sequence[WorkingPoint], target: Path) -> Bundle:
    """Write a copy of a bundle with more working points; those of the same name are replaced."""
    named = {point.name: point for point in (*bundle.manifest.working_points, *points)}
    manifest = bundle.manifest.model_copy(update={"working_points": tuple(named.values())})
    texts_before = {name: bundle.text(name) for name in bundle.manifest.files if name not in REQUIRED_FILES}
    return write_bundle(target, manifest, bundle.model_bytes, bundle.golden, texts_before)


def _check_files(path: Path, manifest: Manifest) -> None:
    missing = [name for name in REQUIRED_FILES if name not in manifest.files]
    if missing:
        raise BundleError(
            f"{path / MANIFEST_FILE}: field files: {missing[0]} is missing; pack the bundle again"
        )
    for name, entry in manifest.files.items():
        file = path / name
        _reject_link(file)
        if not file.is_file():
            raise BundleError(
                f"the file {name} of the bundle {path} is missing; copy the bundle again or pack it again"
            )
        size = file.stat().st_size
        if size > MODEL_BYTES_LIMIT:
            raise UnsafeBundleError(
                f"{file} is {human_bytes(size)}; the limit is {human_bytes(MODEL_BYTES_LIMIT)}"
            )
        if size != entry.bytes or sha256(file) != entry.sha256:
            raise ChecksumError(
                f"{file} is not the file that was packed (its checksum differs from the manifest's); "
                "copy the bundle again, or pack it again if the change was intended"
            )


def _reject_link(file: Path) -> None:
    if file.is_symlink():
        raise UnsafeBundleError(f"{file} is a symbolic link; a bundle may only hold plain files")
