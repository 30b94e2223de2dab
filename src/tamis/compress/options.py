"""Options of a compression."""

from __future__ import annotations

from dataclasses import dataclass

from tamis._base import UsageError
from tamis.events import Aliases

COSTS = ("ebops", "lut", "macs")
WEIGHT_GROUPS = ("tensor", "channel", "weight")
WIDTH_RANGE = (2, 16)
FRONT_POINTS = 6
FIXED_AT = {"weights": 8, "activations": 8, "inputs": 8, "per": "tensor"}
TRAINED_FROM = {
    "weights": 9,
    "activations": 9,
    "inputs": 12,
    "per": "weight",
}  # from there training only takes bits away


@dataclass(frozen=True)
class CompressOptions:
    """Options of a compression."""

    weights: int | None = (
        None  # bits, with the sign; None: 8, or where widths are trained those of TRAINED_FROM
    )
    activations: int | None = None
    inputs: int | None = None
    per: str | None = (
        None  # what has a width of its own: a tensor, a channel or a weight; None: a tensor, or where trained a weight
    )
    prune: float = 0.0
    structured: bool = False
    cost: str | None = None  # what bit widths are trained against; None: they are fixed
    beta: float | None = None
    target: str | None = None
    seed: int = 1
    epochs: int = 30  # 0: without training
    batch: int = 512
    learning_rate: float = 2e-3
    most_rows: int | None = None
    threads: int | None = 1  # small networks are slower with several; None: torch decides
    resume: bool = False
    label: str | None = None  # the array of labels
    tree: str | None = None
    aliases: Aliases | None = None
    skip_bad_files: bool = False

    @property
    def trains_widths(self) -> bool:
        """Whether bit widths are trained against their cost."""
        return self.cost in ("ebops", "lut")

    @property
    def widths(self) -> tuple[int, int, int]:
        """The bits of weights, activations and inputs."""
        assert self.weights is not None  # noqa: S101 - set at the beginning, as are the next two
        assert self.activations is not None  # noqa: S101
        assert self.inputs is not None  # noqa: S101
        return self.weights, self.activations, self.inputs

    def __post_init__(self) -> None:
        """Check the numbers."""
        defaults = TRAINED_FROM if self.trains_widths else FIXED_AT
        for name, value in defaults.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        least, most = WIDTH_RANGE
        for name in ("weights", "activations", "inputs"):
            if not least <= getattr(self, name) <= most:
                raise UsageError(f"{name} have {getattr(self, name)} bits; expected {least} to {most}")
        if not 0 <= self.prune < 1:
            raise UsageError(
                f"prune is {self.prune:g}; expected a fraction of at least 0 and less than 1, such as 0.7"
            )
        if self.structured and not self.prune:
            raise UsageError("structured pruning needs the fraction of the neurons to remove: give --prune")
        if self.per not in WEIGHT_GROUPS or (self.cost is not None and self.cost not in COSTS):
            raise UsageError(
                f"per is {self.per!r} and cost {self.cost!r}; expected one of {', '.join(WEIGHT_GROUPS)} and of {', '.join(COSTS)}"
            )
        if self.per == "weight" and not self.trains_widths:
            raise UsageError("a width for every weight has to be trained: give --cost ebops or lut as well")
        if self.beta is not None and self.cost is None:
            raise UsageError("--beta is the weight of a cost: give --cost as well")
        if self.epochs < 0 or self.batch < 1:
            raise UsageError(
                f"epochs are {self.epochs} and rows per step {self.batch}; expected at least 0 and 1"
            )
