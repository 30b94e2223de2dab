"""The manifest: the typed, versioned description of a bundle."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue, field_validator, model_validator

from tamis._base import Document
from tamis.bundle.signature import Signature

SCHEMA_VERSION = 1

BUNDLE_NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._+-]{0,99}$"


class WorkingPoint(Document):
    """A threshold on the score, and the background efficiency for which it was set."""

    name: str = Field(description="Name, such as `background-0.01`.")
    threshold: float = Field(description="An event is accepted if its score is above it.")
    background_efficiency: float | None = Field(
        default=None, description="Fraction of the background above it."
    )
    background: str = Field(default="", description="The background sample on which it was set.")


class Rewrite(Document):
    """An applied graph rewrite, and its largest change of the golden outputs in float64."""

    name: str = Field(description="Name of the rewrite.")
    count: int = Field(description="Number of places at which it was applied.")
    largest_error: float = Field(description="Largest change of a golden output, evaluated in float64.")


class Cost(Document):
    """The cost of one event, counted from the graph."""

    flops: int = Field(description="Floating-point operations; a multiply-add counts as two.")
    weight_bytes: int = Field(description="Size of the weights.")
    activation_bytes: int = Field(description="Size of all intermediate tensors.")


class Parent(Document):
    """The bundle that a compressed one was made from."""

    name: str = Field(description="Name of the parent.")
    version: str = Field(default="1", description="Version of the parent.")
    model_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of its model.onnx.")]


class FileEntry(Document):
    """The checksum and size of a file of the bundle."""

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of the content.")]
    bytes: Annotated[int, Field(ge=0, description="Size of the file.")]


class Manifest(Document):
    """Everything about a bundle except its weights."""

    schema_version: Literal[1] = Field(description="Version of this schema.")
    name: Annotated[str, Field(pattern=BUNDLE_NAME_PATTERN, description="Name of the bundle.")]
    version: str = Field(default="1", description="Version of the model.")
    description: str = Field(default="", description="One sentence about the model.")
    created: str = Field(default="", description="When it was packed, ISO 8601 in UTC.")
    producer: dict[str, str] = Field(
        default_factory=dict, description="Versions of the libraries that packed it."
    )
    signature: Signature = Field(description="Inputs and outputs.")
    score: str | None = Field(
        default=None, description="The output that decides; none if the model has no score."
    )
    nan: Literal["propagate", "model"] = Field(
        default="propagate",
        description="`propagate`: an event with a NaN input scores NaN; `model`: the graph handles NaN itself.",
    )
    working_points: tuple[WorkingPoint, ...] = Field(default=(), description="Named thresholds on the score.")
    cost: Cost | None = Field(default=None, description="Cost of one event.")
    rewrites: tuple[Rewrite, ...] = Field(default=(), description="Graph rewrites that were applied.")
    parent: Parent | None = Field(
        default=None, description="The bundle that it was compressed from, if it was."
    )
    training: dict[str, JsonValue] = Field(
        default_factory=dict, description="Provenance: samples, seed, options and versions of the training."
    )
    files: dict[str, FileEntry] = Field(
        default_factory=dict, description="Every file of the bundle except the manifest."
    )

    @field_validator("files")
    @classmethod
    def _plain_names(cls, files: dict[str, FileEntry]) -> dict[str, FileEntry]:
        for name in files:
            if name != name.strip() or not name or name.startswith(".") or {"/", "\\", "\0"} & set(name):
                raise ValueError(
                    f"the file name {name!r} is hidden or points outside the bundle; use a plain name"
                )
        return files

    @model_validator(mode="after")
    def _score_is_an_output(self) -> Manifest:
        names = [spec.name for spec in self.signature.outputs]
        if self.score is not None and self.score not in names:
            raise ValueError(f"the score {self.score!r} is not an output; outputs: {', '.join(names)}")
        points = [point.name for point in self.working_points]
        if len(set(points)) != len(points):
            raise ValueError(f"working points must have different names: {', '.join(points)}")
        return self
