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

    name: str
    threshold: float
    background_efficiency: float | None = None
    background: str = ""


class Rewrite(Document):
    """An applied graph rewrite, and its largest change of the golden outputs in float64."""

    name: str
    count: int
    largest_error: float


class Cost(Document):
    """The cost of one event, counted from the graph."""

    flops: int
    weight_bytes: int
    activation_bytes: int


class FileEntry(Document):
    """The checksum and size of a file of the bundle."""

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    bytes: Annotated[int, Field(ge=0)]


class Manifest(Document):
    """Everything about a bundle except its weights."""

    schema_version: Literal[1]
    name: Annotated[str, Field(pattern=BUNDLE_NAME_PATTERN)]
    version: str = "1"
    description: str = ""
    created: str = ""
    producer: dict[str, str] = Field(default_factory=dict)
    signature: Signature
    score: str | None = None
    nan: Literal["propagate", "model"] = Field(
        default="propagate",
        description="propagate: an event with a NaN input scores NaN; model: the graph handles it",
    )
    working_points: tuple[WorkingPoint, ...] = ()
    cost: Cost | None = None
    rewrites: tuple[Rewrite, ...] = ()
    training: dict[str, JsonValue] = Field(default_factory=dict)
    files: dict[str, FileEntry] = Field(default_factory=dict)

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
