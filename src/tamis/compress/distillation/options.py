"""Options of a distillation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from tamis._base import UsageError
from tamis.events import Aliases

STUDENT_FAMILIES = ("dense", "conv", "particles")
STUDENT_LOSSES = ("mae", "mse")
OPERATIONS_MAX = 0.01  # of the parent's, for sizes that are searched


@dataclass(frozen=True)
class DistilOptions:
    """Options of a distillation."""

    metric: str = "score"  # score, log-score, or FILE.py:FUNCTION
    student: str = "dense"
    size: tuple[int, ...] | None = None  # None: searched
    loss: str = "mae"
    tail: float = 0.5  # further rows per epoch, relative to all, drawn from those with high scores
    outliers: float = 0.0  # made rows, relative to all
    target: str | None = None
    seed: int = 1
    epochs: int = 30
    batch: int = 512
    learning_rate: float = 2e-3
    most_rows: int | None = None
    threads: int | None = 1
    resume: bool = False
    label: str | None = None
    tree: str | None = None
    aliases: Aliases | None = None
    skip_bad_files: bool = False

    def __post_init__(self) -> None:
        """Check the numbers."""
        if self.student not in STUDENT_FAMILIES or self.loss not in STUDENT_LOSSES:
            raise UsageError(
                f"the student is {self.student!r} and the loss {self.loss!r}; expected one of {', '.join(STUDENT_FAMILIES)} "
                f"and of {', '.join(STUDENT_LOSSES)}"
            )
        if self.size is not None and (not self.size or min(self.size) < 1):
            raise UsageError(
                f"the size of the student is {self.size}; expected numbers of at least 1, as in 64,16"
            )
        if self.student == "conv" and self.size is not None and len(self.size) < 2:
            raise UsageError(
                "the size of a convolutional student is the channels of its convolutions and, last, the neurons behind them, as in 8,16"
            )
        if self.student == "particles" and self.size is not None and len(self.size) < 3:
            raise UsageError(
                "the size of a student of particles is how many of them, the channels of each, and last the neurons behind them, "
                "as in 32,12,16"
            )
        if self.tail < 0 or self.outliers < 0:
            raise UsageError(
                f"the fractions of the tail and of outliers are {self.tail:g} and {self.outliers:g}; expected at least 0"
            )
        if self.epochs < 1 or self.batch < 1:
            raise UsageError(
                f"epochs are {self.epochs} and rows per step {self.batch}; expected at least 1 of both"
            )

    @property
    def recorded(self) -> dict[str, object]:
        """The options that determine the student, for its card."""
        return {
            "distil": Path(self.metric).name if ":" in self.metric else self.metric,
            "student": self.student,
            "loss": self.loss,
            "tail": self.tail,
            "outliers": self.outliers,
            "target": self.target,
            "seed": self.seed,
            "epochs": self.epochs,
            "batch": self.batch,
            "learning_rate": self.learning_rate,
        }


def parse_size(text: str | None) -> tuple[int, ...] | None:
    """Parse a size such as `64,16`."""
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise UsageError(f"the size of the student {text!r} is not of the form 64,16")
    return tuple(int(part) for part in parts)
