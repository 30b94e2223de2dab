"""Aliases: names for columns of a file, or for simple functions of them, with which a menu or a feature reads it.

`PFCands_pt = PFCand_pt` renames, `Jet_pt = AnalysisJetsAuxDyn.pt * 0.001` changes the unit, `MET_pt = first(MissingET.MET)`
takes one value of a list. Several alternatives may be given; the first whose columns the file has counts.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import awkward as ak
import numpy as np

from tamis._base import DataError, MissingColumnError, UsageError, did_you_mean
from tamis.events.alias_functions import ALIAS_FUNCTIONS
from tamis.events.profile import Profile, find_profile
from tamis.events.table import Table, type_of

_CALL = re.compile(r"(?P<function>\w+)\((?P<arguments>[^()]*)\)")
_SCALED = re.compile(r"(?P<what>.+?)\s*\*\s*(?P<factor>[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?)", re.IGNORECASE)
_NUMBER = re.compile(r"[-+]?\d*\.?\d+")


@dataclass(frozen=True)
class Alias:
    """One way to get a column: the columns that it reads, a function of them, and a factor."""

    text: str
    function: str | None
    arguments: tuple[str | float, ...]
    factor: float = 1.0

    @property
    def reads(self) -> tuple[str, ...]:
        """Return the columns of the file that it needs."""
        return tuple(argument for argument in self.arguments if isinstance(argument, str))

    def of(self, columns: Mapping[str, ak.Array]) -> ak.Array:
        """Return the column."""
        values = [columns[a] if isinstance(a, str) else a for a in self.arguments]
        try:
            with np.errstate(all="ignore"):
                found: Any = (
                    values[0] if self.function is None else ALIAS_FUNCTIONS[self.function][1](*values)
                )
                if self.factor != 1:
                    found = _scaled(found, self.factor)
        except (TypeError, ValueError, AttributeError) as error:
            kinds = ", ".join(f"{name} is {columns[name].type.content}" for name in self.reads)
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise DataError(f"the alias {self.text} cannot be computed ({kinds}): {reason}") from error
        return ak.to_packed(found) if isinstance(found, ak.Array) else ak.Array(found)


def _scaled(values: ak.Array, factor: float) -> ak.Array:
    """Return values times a factor, in their own precision."""
    kind = np.dtype(str(ak.type(ak.flatten(values, axis=None)).content).removeprefix("?"))
    return values * (kind.type(factor) if kind.kind == "f" else np.float64(factor))


@cache
def parse_alias(text: str) -> Alias:
    """Parse `COLUMN`, `COLUMN * FACTOR`, or `FUNCTION(COLUMN, ...)`, also with a factor."""
    what, factor = text.strip(), 1.0
    scaled = _SCALED.fullmatch(what)
    if scaled is not None:
        what, factor = scaled["what"], float(scaled["factor"])
    call = _CALL.fullmatch(what)
    if call is None:
        if not what or "(" in what or ")" in what:
            raise UsageError(f"the alias {text!r} is not COLUMN, COLUMN * FACTOR or FUNCTION(COLUMN, ...)")
        return Alias(text, None, (what,), factor)
    name = call["function"]
    if name not in ALIAS_FUNCTIONS:
        raise UsageError(
            f"the alias {text!r}: there is no function {name!r}; {did_you_mean(name, ALIAS_FUNCTIONS)}"
        )
    arguments = tuple(
        float(part) if _NUMBER.fullmatch(part) else part
        for part in (part.strip() for part in call["arguments"].split(","))
    )
    expected = ALIAS_FUNCTIONS[name][0]
    if len(arguments) != len(expected) or not all(arguments):
        raise UsageError(f"the alias {text!r}: use {name}({', '.join(expected)})")
    return Alias(text, name, arguments, factor)


def parse_aliases(options: Iterable[str]) -> dict[str, str]:
    """Parse NAME=COLUMN options; raises for malformed ones."""
    found: dict[str, str] = {}
    for option in options:
        name, sign, text = option.partition("=")
        if not (name.strip() and sign and text.strip()):
            raise UsageError(f"--alias takes NAME=COLUMN, such as MET_pt=PuppiMET_pt, not {option!r}")
        parse_alias(text)
        found[name.strip()] = text.strip()
    check_aliases(found)
    return found


def check_aliases(aliases: Mapping[str, str]) -> None:
    """Raise UsageError if an alias reads the name of an alias: streams hold it, so a second run would apply it again."""
    for name, text in aliases.items():
        for column in parse_alias(text).reads:
            if column in aliases:
                raise UsageError(
                    f"the alias {name} = {text} reads {column}, which is the name of an alias: a run over its own streams "
                    f"would apply it twice; give the alias {column} another name"
                )


class AliasedTable:
    """A table with aliases; those of the user hide columns of the file, those of its format do not."""

    def __init__(self, table: Table, user: Mapping[str, str]) -> None:
        """Wrap an open table; `user` are the aliases beyond those of its format."""
        check_aliases(user)
        self.plain = table
        self._user = user
        self._found: dict[str, Alias | None] = {}
        self.url, self.format, self.name, self.entries = table.url, table.format, table.name, table.entries

    @property
    def opaque(self) -> Mapping[str, str]:
        """Return the columns that cannot be read, with the reason."""
        return self.plain.opaque  # not on opening: it interprets every branch

    @cached_property
    def profile(self) -> Profile | None:
        """Return the format of the file, if it is known."""
        return find_profile(self.plain)

    @cached_property
    def aliases(self) -> dict[str, Alias]:
        """Return the aliases that the file can serve."""
        found = {}
        of_format = self.profile.aliases if self.profile is not None else {}
        for name in (*self._user, *of_format):
            alias = self.alias_of(name)
            if alias is not None:
                found[name] = alias
        return found

    def alias_of(self, name: str) -> Alias | None:
        """Return the alias that serves a name, or None for a column of the file or an unknown name."""
        if name not in self._found:
            self._found[name] = self._find_alias(name)
        return self._found[name]

    def _find_alias(self, name: str) -> Alias | None:
        if name in self._user:
            alias = parse_alias(self._user[name])
            for column in alias.reads:
                if not self._has(column):  # another column in its place would be a silent error
                    hint = did_you_mean(column, [*self.plain.columns, *self.plain.hidden])
                    raise MissingColumnError(
                        f"{self.url} ({self.name}) has no column {column!r}, which the alias {name} = {alias.text} reads; {hint}".rstrip(
                            "; "
                        )
                    )
            return alias
        if self._has(name):  # a format is recognised only at need
            return None
        if self.profile is None:
            return None
        alternatives = map(parse_alias, self.profile.aliases.get(name, ()))
        return next((alias for alias in alternatives if all(map(self._has, alias.reads))), None)

    def _has(self, name: str) -> bool:
        return self.plain_type(name) is not None

    def plain_type(self, name: str) -> str | None:
        """Return the type of a column or counter of the file itself, or None."""
        return type_of(self.plain, name)

    @cached_property
    def columns(self) -> Mapping[str, str]:
        """Return the columns of the file, with the type of the alias for those that an alias hides."""
        hiding = {
            name: self._type(alias) for name, alias in self.aliases.items() if name in self.plain.columns
        }
        return {**self.plain.columns, **hiding}

    @cached_property
    def hidden(self) -> Mapping[str, str]:
        """Return the counters of the file, and the aliases: they are read only when requested by name."""
        named = {name: self._type(a) for name, a in self.aliases.items() if name not in self.plain.columns}
        return {**self.plain.hidden, **named}

    def _type(self, alias: Alias) -> str:
        empty = {}
        for name in alias.reads:
            kind = ak.types.from_datashape(self.plain_type(name), highlevel=False)
            empty[name] = ak.Array(ak.forms.from_type(kind).length_zero_array(highlevel=False))
        return str(alias.of(empty).type.content)

    def type_of(self, name: str) -> str | None:
        """Return the type of one column, counter or alias, or None."""
        alias = self.alias_of(name)
        return self._type(alias) if alias is not None else self.plain_type(name)

    def collection_of(self, name: str) -> str | None:
        """Return what counts the elements of a list, if the file records it."""
        inner = getattr(self.plain, "collection_of", None)
        alias = self.alias_of(name)
        if inner is None or (alias is not None and alias.function in ("jet_within", "candidate_within")):
            return None
        found: str | None = inner(alias.reads[0] if alias is not None else name)
        return found

    def why_missing(self, name: str) -> str:
        """Return the end of a sentence on a missing column: why the format lacks it, or similar names."""
        reason = self.profile.why_missing(name) if self.profile is not None else None
        if self.profile is not None and reason is not None:
            return f": {reason} (the file is {self.profile.format})"
        similar = did_you_mean(name, [*self.columns, *self.hidden])
        return f"; {similar}" if similar else ""

    def _sources(self, names: Sequence[str]) -> list[str]:
        found: dict[str, None] = {}
        for name in names:
            alias = self.alias_of(name)
            found.update(dict.fromkeys(alias.reads if alias is not None else (name,)))
        return list(found)

    def unsupported(self, names: Sequence[str]) -> dict[str, str]:
        """Return the columns that cannot be read in practice, with the reason."""
        return self.plain.unsupported([name for name in names if self.alias_of(name) is None])

    def bytes_per_event(self, names: Sequence[str]) -> float:
        """Return an estimate of the bytes per event of the columns that are read."""
        return self.plain.bytes_per_event(self._sources(names))

    def sizes(self, name: str) -> tuple[int | None, int | None]:
        """Return compressed and uncompressed bytes; an alias takes none."""
        return (None, None) if self.alias_of(name) is not None else self.plain.sizes(name)

    def clusters(self, names: Sequence[str]) -> Sequence[int]:
        """Return the entries at which a basket or row group of every column begins."""
        clusters = getattr(self.plain, "clusters", None)
        return clusters(self._sources(names)) if clusters is not None else ()

    def seams(self, names: Sequence[str]) -> Sequence[int]:
        """Return the entries at which a basket of any column begins."""
        seams = getattr(self.plain, "seams", None)
        return seams(self._sources(names)) if seams is not None else ()

    def read(self, names: Sequence[str], start: int, stop: int) -> dict[str, ak.Array]:
        """Read a range of events."""
        aliases = {name: alias for name in names if (alias := self.alias_of(name)) is not None}
        if not aliases:
            return self.plain.read(names, start, stop)
        data = self.plain.read(self._sources(names), start, stop)
        return {name: aliases[name].of(data) if name in aliases else data[name] for name in names}

    def close(self) -> None:
        """Close the file."""
        self.plain.close()
