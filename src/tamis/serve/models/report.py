"""How each model is served: its state, engine and verification, and what was ignored or switched off."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tamis._base import UsageError, did_you_mean, progress
from tamis.serve.models.folders import find_models
from tamis.serve.models.model import FAILURES, OpeningSettings
from tamis.serve.models.opening import open_models
from tamis.serve.models.repository import IndexEntry, State

NO = "no: "  # the beginning of the facts `verified` and `warm`, before the reason


@dataclass(frozen=True)
class ModelReport(IndexEntry):
    """An entry of the index, and how the model is served."""

    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def engine(self) -> str:
        """Return the engine with its version, and why it was chosen if nobody requested it."""
        return self.facts.get("why", "").replace("\n", "; ") or self.facts.get("engine", "")

    @property
    def verified(self) -> str:
        """Return what the outputs were compared with, or why they were not."""
        return self.facts.get("verified", "").removeprefix("yes: ")

    def remarks(self) -> Iterator[str]:
        """Yield what could not be verified or warmed up, was ignored or is switched off."""
        if self.facts.get("verified", "").startswith(NO):
            yield f"not verified: {self.facts['verified'].removeprefix(NO)}"
        if self.facts.get("warm", "").startswith(NO):
            yield f"not warm: {self.facts['warm'].removeprefix(NO)}"
        for name in ("modelled", "ignored", "off"):
            if self.facts.get(name):
                yield f"{name}: {self.facts[name]}"


def check_models(sources: Sequence[str | Path], settings: OpeningSettings) -> list[ModelReport]:
    """Open every model as a server would, one after the other, and close it again; return the reports."""
    folders = find_models(sources)
    reports: list[ModelReport] = []
    free: set[str] = set()
    with progress("opening", len(folders), "models") as advance:
        for name, folder in sorted(folders.items()):
            try:
                models = open_models(folder, settings)
            except FAILURES as error:
                reason = str(error) or type(error).__name__
                reports.append(ModelReport(name, "", State.UNAVAILABLE, reason))
            else:
                for model in models:
                    free |= model.free_dims
                    facts = dict(model.spec.facts)
                    reports.append(ModelReport(name, model.spec.version, State.READY, facts=facts))
                    model.close()
            advance(1)
    if all(report.state is State.READY for report in reports):
        check_dims(settings, free)
    return reports


def check_dims(settings: OpeningSettings, free: Iterable[str]) -> None:
    """Raise UsageError for a size of a dimension that no model has."""
    names = sorted(free)
    for name in settings.dims:
        if name not in names:
            hint = did_you_mean(name, names) or "they have none"
            raise UsageError(f"--dims {name}: no served model has a free dimension {name!r}; {hint}")
