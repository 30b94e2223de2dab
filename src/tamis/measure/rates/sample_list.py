"""Lists of samples: files with cross-sections, background and signal."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from tamis._base import Document, UsageError, parse_document


class SampleSpec(Document):
    """One process: its files and cross-section, and whether it is background, which makes up the input rate, or signal."""

    files: tuple[str, ...] = Field(min_length=1)
    cross_section_pb: float | None = Field(
        None,
        gt=0,
        description="In picobarn; a signal needs none, nor do files with the column tamis_cross_section_pb.",
    )
    kind: Literal["background", "signal"] = "background"
    weight: str | None = Field(None, description="Column with the weight of each event, such as genWeight.")
    pt_hat_gev: tuple[float, float | None] | None = Field(
        default=None,
        description="With `collisions`: the crossings whose hardest collision is in this range are taken from this sample; null: no upper end.",
    )

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.pt_hat_gev is not None:
            low, high = self.pt_hat_gev
            if low < 0 or (high is not None and high <= low):
                raise ValueError(
                    f"pt_hat_gev is {low:g} to {high}; the second number must be above the first"
                )
        return self


class SampleList(Document):
    """The samples of a rate study."""

    collisions: float | None = Field(
        default=None,
        gt=0,
        description="Mean number of collisions in a bunch crossing; the input rate is that of crossings then.",
    )
    samples: dict[str, SampleSpec] = Field(min_length=1)

    @model_validator(mode="after")
    def _covers_the_crossings(self) -> Self:
        ranges = [(spec.pt_hat_gev, spec.kind) for spec in self.samples.values() if spec.pt_hat_gev]
        if self.collisions is None:
            if ranges:
                raise ValueError("pt_hat_gev needs `collisions`, the mean number of collisions in a crossing")
            return self
        ordered = sorted((found for found, kind in ranges if kind == "background"), key=lambda one: one[0])
        ends = [0.0, *(float("inf") if high is None else high for _, high in ordered)]
        if not ordered or [low for low, _ in ordered] != ends[:-1] or ends[-1] != float("inf"):
            raise ValueError(
                "with `collisions`, the pt_hat_gev of the background samples must follow each other from 0 to null, such as "
                "[0, 30] and [30, null]"
            )
        return self


def load_samples(path: str | Path) -> SampleList:
    """Read a list of samples; relative file names are relative to the list."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"the sample list {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"the sample list {path} cannot be read: it is not a text file") from error
    sample_list = parse_document(text, SampleList, str(path))
    if all(spec.kind == "signal" for spec in sample_list.samples.values()):
        raise UsageError(
            f"{path}: all samples are signal; at least one background sample must make up the input rate"
        )
    folder = path.resolve().parent
    located = {}
    for name, spec in sample_list.samples.items():
        files = [
            file if "://" in file or Path(file).is_absolute() else str(folder / file) for file in spec.files
        ]
        located[name] = spec.model_copy(update={"files": tuple(files)})
    return sample_list.model_copy(update={"samples": located})
