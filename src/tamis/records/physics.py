"""Physics evaluations: discrimination of detectors and taggers, selection by classifiers, energies, training curves."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tamis._base import Document, Host


class Estimate(Document):
    """A number and its bootstrap standard error."""

    value: float
    error: float


class Discrimination(Document):
    """One variable on one signal."""

    variable: str
    signal: str
    auc: Estimate
    signal_efficiency: dict[str, Estimate] = Field(description="by background efficiency")
    curve: tuple[tuple[float, float], ...] = Field(description="ROC: (background, signal) efficiency")


class VariableHistogram(Document):
    """Normalised distributions of one variable."""

    variable: str
    edges: tuple[float, ...]
    densities: dict[str, tuple[float, ...]] = Field(description="by sample")


class SampleFacts(Document):
    """The files, events and jets of one sample."""

    name: str
    files: tuple[str, ...]
    events: int
    jets: int = Field(description="scored jets")
    jets_without_input: int = Field(default=0, description="jets without constituents, which have no score")
    skipped: tuple[str, ...] = Field(default=(), description="files that could not be read, at least in part")


class Evaluation(Document):
    """How well a bundle separates signals from background, and how simple variables do on the same jets."""

    kind: Literal["evaluation"] = "evaluation"
    bundle: str
    bundle_version: str
    model_sha256: str
    engine: str
    created: str
    host: Host
    background: SampleFacts
    signals: tuple[SampleFacts, ...]
    figures: tuple[Discrimination, ...]
    histograms: tuple[VariableHistogram, ...]
    working_points: dict[str, dict[str, float]] = Field(
        description="fraction of each sample that passes, by working point"
    )


class Selector(Document):
    """One variable that selects one signal class."""

    variable: str
    signal: str
    against: tuple[str, ...] = Field(
        description="the classes that the area and the curve count as background"
    )
    auc: Estimate = Field(description="all background classes have equal weight, whatever their rates")
    passing: dict[str, Estimate] = Field(description="efficiency by class where 99 % of the signal pass")
    removed: Estimate = Field(description="fraction of the rate of all samples that is rejected there")
    curve: tuple[tuple[float, float], ...] = Field(description="(efficiency of the others, of the signal)")


class ClassFacts(Document):
    """The files, events, rows and rate of one sample of a class."""

    name: str
    files: tuple[str, ...]
    events: int
    rows: int
    rate: float
    skipped: tuple[str, ...] = ()


class Selection(Document):
    """How well a classifier separates its classes, and how much of a trigger's rate it removes."""

    kind: Literal["selection"] = "selection"
    bundle: str
    bundle_version: str
    model_sha256: str
    engine: str
    created: str
    host: Host
    classes: tuple[str, ...]
    samples: tuple[ClassFacts, ...]
    selectors: tuple[Selector, ...]


class EnergyFigures(Document):
    """One energy estimator on the rows of one bin."""

    method: str
    response: Estimate = Field(description="median of measured over true")
    spread: Estimate = Field(
        description="half the width of the central 68 % of measured over true, divided by the median"
    )
    within: Estimate = Field(description="68 % of the rows are within this relative distance of the truth")


class EnergyBin(Document):
    """Rows in an interval of the true energy, in GeV."""

    low: float
    high: float
    rows: int
    figures: tuple[EnergyFigures, ...]


class EmptyFigures(Document):
    """One energy estimator on rows whose true energy is zero."""

    method: str
    rows: int
    mean: Estimate
    p95: Estimate = Field(description="95 % of the measured energies are below")


class ClassFigures(Document):
    """One class against all others."""

    name: str
    rows: int
    auc: Estimate
    baseline: str = Field(description="the best single variable")
    baseline_auc: Estimate
    efficiency: Estimate = Field(description="fraction of the class for which it is the most probable class")
    purity: Estimate = Field(
        description="fraction of the class among the rows assigned to it, if all classes were equally frequent"
    )


class PointFigures(Document):
    """The accepted fraction of each class at a working point."""

    name: str
    threshold: float
    accepted: dict[str, Estimate]


class ArrayEvaluation(Document):
    """The energy resolution, or the class separation, of a model of arrays."""

    kind: Literal["arrays"] = "arrays"
    schema_version: Literal[1] = 1
    bundle: str
    created: str
    engine: str
    files: tuple[str, ...]
    rows: int
    what: str = Field(description="what a row is, in the plural: clusters, patches")
    energies: tuple[EnergyBin, ...] = ()
    empty: tuple[EmptyFigures, ...] = ()
    classes: tuple[ClassFigures, ...] = ()
    confusion: tuple[tuple[float, ...], ...] = ()
    points: tuple[PointFigures, ...] = ()


class TrainingCurves(Document):
    """The loss curves stored in a bundle."""

    kind: Literal["training"] = "training"
    bundle: str
    history: tuple[dict[str, float], ...] = Field(description="one entry per epoch")
