"""The content of a page: sections of pictures and sortable tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tamis.records import Estimate

Key = float | str


@dataclass(frozen=True)
class Cell:
    """A cell: its text, and the key that it is sorted by."""

    text: str
    key: Key


@dataclass(frozen=True)
class Row:
    """A row; the page filters by `model`, and `mark` colours the row (good or bad)."""

    cells: tuple[Cell, ...]
    model: str = ""
    mark: str = ""


@dataclass(frozen=True)
class PageTable:
    """A table that can be sorted by any column."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    note: str = ""


@dataclass(frozen=True)
class Picture:
    """A drawn figure with its file name (without suffix), title and alternative text."""

    name: str
    title: str
    alt: str
    figure: Any  # a matplotlib Figure
    caption: str = ""
    model: str = ""
    wide: bool = False


@dataclass(frozen=True)
class Card:
    """A short text under a large number."""

    title: str
    value: str
    text: str


@dataclass(frozen=True)
class Section:
    """One tab of the page: cards, pictures, tables, and explained terms, in this order."""

    name: str
    title: str
    intro: str
    pictures: tuple[Picture, ...] = ()
    tables: tuple[PageTable, ...] = ()
    cards: tuple[Card, ...] = ()
    terms: tuple[tuple[str, str], ...] = ()

    @property
    def empty(self) -> bool:
        """Return whether there is nothing to show."""
        return not (self.pictures or self.tables)


def words(text: str) -> Cell:
    """Return a cell of text."""
    return Cell(text, text.lower())


def number(value: float | None, form: str = "g") -> Cell:
    """Return a cell of a number; None is shown as a dash and sorts last."""
    return Cell("–", float("inf")) if value is None else Cell(format(value, form), float(value))


def milliseconds(nanoseconds: float | None) -> Cell:
    """Return a cell of a time in milliseconds, with three significant digits."""
    if nanoseconds is None:
        return Cell("–", float("inf"))
    return Cell(significant(nanoseconds / 1e6), nanoseconds)


def significant(value: float) -> str:
    """Format a number with three significant digits, without an exponent unless it is very small or large."""
    if value == 0 or 1e-4 <= abs(value) < 1e6:
        text = f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
        return text if "e" not in text else f"{value:.0f}"
    return f"{value:.2e}"


def plus_minus(estimate: Estimate) -> str:
    """Return a value and its error."""
    return f"{estimate.value:.4f} ± {estimate.error:.4f}"
