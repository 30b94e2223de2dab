"""Options of a student of trees."""

from __future__ import annotations

from dataclasses import dataclass

from tamis._base import UsageError
from tamis.events import Aliases

TREE_SIZE = (24, 6)  # trees, and questions along each of them: six are the inputs of one LUT
TREE_COUNT_MAX, LEVELS_MAX = 512, 10
LEAF_BITS, INPUT_BITS = 3, 7
LEAF_BITS_RANGE, INPUT_BITS_RANGE = (1, 12), (2, 10)
FOREST_BITS_RANGE = (2, 16)


@dataclass(frozen=True)
class ForestOptions:
    """Options of the quantisation of trees that somebody else trained."""

    weights: int = 8  # bits of a leaf, with the sign
    inputs: int = 8  # bits of an input, without
    target: str | None = None
    seed: int = 1
    most_rows: int | None = None
    label: str | None = None
    tree: str | None = None
    aliases: Aliases | None = None
    skip_bad_files: bool = False

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name, value, (least, most) in (
            ("leaves (--weights)", self.weights, FOREST_BITS_RANGE),
            ("inputs", self.inputs, FOREST_BITS_RANGE),
        ):
            if not least <= value <= most:
                raise UsageError(f"{name} of trees have {value} bits; expected {least} to {most}")


@dataclass(frozen=True)
class TreeOptions:
    """Options of a student of trees."""

    size: tuple[int, ...] | None = None  # trees, levels
    weights: int | None = None  # bits of a leaf
    inputs: int | None = None  # bits of an input, without sign
    passes: int = 3  # in which every tree is grown again beside all others
    score_only: bool = False  # instead of probabilities
    target: str | None = None
    seed: int = 1
    epochs: int = 10  # of the training of the leaves
    batch: int = 1024
    learning_rate: float = 2e-2
    most_rows: int | None = None
    threads: int | None = 1
    label: str | None = None
    tree: str | None = None
    aliases: Aliases | None = None
    skip_bad_files: bool = False

    def __post_init__(self) -> None:
        """Check the numbers."""
        for name, value in (("size", TREE_SIZE), ("weights", LEAF_BITS), ("inputs", INPUT_BITS)):
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        sizes = self.shape
        if len(sizes) != 2 or not (1 <= sizes[0] <= TREE_COUNT_MAX and 1 <= sizes[1] <= LEVELS_MAX):
            raise UsageError(
                f"the size of a student of trees is {','.join(map(str, sizes))}; expected the number of trees, up to {TREE_COUNT_MAX}, and "
                f"their levels, up to {LEVELS_MAX}, as in 24,6"
            )
        for name, value, (least, most) in (
            ("leaves (--weights)", self.leaf_bits, LEAF_BITS_RANGE),
            ("inputs", self.input_bits, INPUT_BITS_RANGE),
        ):
            if not least <= value <= most:
                raise UsageError(f"{name} of trees have {value} bits; expected {least} to {most}")
        if self.epochs < 1 or self.batch < 1 or self.passes < 0:
            raise UsageError(
                f"epochs are {self.epochs}, rows per step {self.batch} and passes {self.passes}; expected at least 1 of the first two and 0 "
                "passes"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of trees, and their levels."""
        assert self.size is not None  # noqa: S101 - set at the beginning, as are the next two
        return self.size

    @property
    def leaf_bits(self) -> int:
        """The bits of a leaf."""
        assert self.weights is not None  # noqa: S101
        return self.weights

    @property
    def input_bits(self) -> int:
        """The bits of an input."""
        assert self.inputs is not None  # noqa: S101
        return self.inputs

    @property
    def recorded(self) -> dict[str, object]:
        """The options that determine the student, for its card."""
        names = ("score_only", "passes", "target", "seed", "epochs", "batch", "learning_rate")
        own = {
            "trees": self.shape[0],
            "levels": self.shape[1],
            "leaf_bits": self.leaf_bits,
            "input_bits": self.input_bits,
        }
        return own | {name: getattr(self, name) for name in names}
