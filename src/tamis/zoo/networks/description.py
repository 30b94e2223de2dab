"""How a network is described: its inputs, how it is built, and how it is trained. Frozen values, without torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from tamis._base import DataError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from tamis.zoo.networks.layers import ArrayNet, Standardise


class Store(Protocol):
    """Rows of one input, selected by their indices; an array is a store."""

    def __len__(self) -> int:
        """Return the number of rows."""
        ...

    def __getitem__(self, rows: np.ndarray, /) -> np.ndarray:
        """Return the rows with these indices."""
        ...

    def tobytes(self) -> bytes:
        """Return bytes that identify the content."""
        ...


@dataclass(frozen=True)
class Recipe:
    """Hyperparameters of a training: Adam, a decaying learning rate, early stopping."""

    learning_rate: float = 1e-3
    decay: float = 0.5  # factor on the learning rate after `patience_decay` epochs without a lower loss
    patience_decay: int = 2
    patience_stop: int = 6
    batch: int = 256
    epochs: int = 40
    weight_decay: float = 0.0
    warmup_epochs: int = 0  # epochs whose losses are not compared with later ones


@dataclass(frozen=True)
class AutoencoderRecipe(Recipe):
    """Hyperparameters of a variational autoencoder; the loss is weight * reconstruction + beta * KL divergence."""

    beta: float = 1.0
    weight: float = 1.0  # of the Chamfer distance per constituent


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """What all networks have."""

    name: str
    description: str


@dataclass(frozen=True, kw_only=True)
class AnomalyDetector(NetworkSpec):
    """A variational autoencoder on the 100 leading constituents of a jet, trained on background alone."""

    build: Callable[[Standardise, int], nn.Module]  # from the standardisation and the size of z
    recipe: AutoencoderRecipe


@dataclass(frozen=True, kw_only=True)
class Classifier(NetworkSpec):
    """A classifier; its module returns a logit per class, or one logit for signal over background."""

    features: Mapping[str, str]  # by input, in the order of the module's arguments
    units: Mapping[str, str]  # by input
    classes: tuple[str, ...]  # the first is the background: the score is the probability of all others
    build: Callable[
        [Mapping[str, Store]], nn.Module
    ]  # from the training inputs, to fix scales inside the graph
    recipe: Recipe
    calibration: float = 0.1  # fraction of the events of each class that sets the thresholds
    background_efficiencies: tuple[float, ...] = ()  # of the working points; without: 99 % of each signal
    rows: str = "events"  # what one row is
    starts_from: str | None = None  # the classifier whose trained weights `build_from` takes
    build_from: Callable[[Mapping[str, Tensor], Mapping[str, Store]], nn.Module] | None = None


@dataclass(frozen=True)
class TruthMatching:
    """Labels seeds by the generated particles near them; a seed near both kinds is left out."""

    signal: tuple[int, ...]  # absolute PDG ids
    background: tuple[int, ...]  # empty: every seed that is not near a signal particle
    radius: float  # in (eta, phi)
    pt_min_gev: float  # of the seed

    @classmethod
    def parse(cls, value: object) -> TruthMatching | None:
        """Return the matching that a bundle's manifest records, or None if it records none."""
        if value is None:
            return None
        try:
            fields = dict(value)  # type: ignore[call-overload] # anything that JSON can hold
            return cls(
                signal=tuple(map(int, fields["signal"])),
                background=tuple(map(int, fields["background"])),
                radius=float(fields["radius"]),
                pt_min_gev=float(fields["pt_min_gev"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"the manifest's training.truth is {value!r}; expected signal, background, radius and pt_min_gev"
            ) from error


@dataclass(frozen=True, kw_only=True)
class Tagger(Classifier):
    """A classifier of images of the detector; each is labelled by the generated particles near its seed."""

    truth: TruthMatching


@dataclass(frozen=True, kw_only=True)
class ArrayModel(NetworkSpec):
    """A model of the arrays of a simulated sample; its module computes its loss in training."""

    sample: str  # the sample's name in `tamis simulate`
    rows: str  # what one row is
    inputs: Mapping[str, str]  # arrays, in the order of the module's arguments, and their units
    target: str
    outputs: tuple[str, ...]
    task: Literal["energy", "classes"]
    build: Callable[[], ArrayNet]
    recipe: Recipe
    baselines: tuple[str, ...] = ()  # arrays of the sample that the model has to beat
    classes: tuple[str, ...] = ()
    score: str | None = None
    background: tuple[str, ...] = ()  # the classes that the score rejects
    background_efficiencies: tuple[float, ...] = ()  # of the working points, in the background
    calibration: float = 0.0  # fraction of the rows that sets the thresholds
    rewrites: bool = True  # of the exported graph; they would fold a standardisation into the first layer


@dataclass(frozen=True, kw_only=True)
class FeatureDetector(NetworkSpec):
    """An anomaly detector on features of events, trained on background alone; its module computes its loss in training."""

    features: Mapping[str, str]  # by input, in the order of the module's arguments
    units: Mapping[str, str]  # by input
    outputs: tuple[str, ...]  # with `score`
    build: Callable[[], ArrayNet]
    recipe: Recipe
    background_efficiencies: tuple[float, ...]  # of the working points
    calibration: float = 0.2  # fraction of the rows that sets the thresholds
    rows: str = "events"  # what one row is
    rewrites: bool = True  # of the exported graph; they would fold a standardisation into the first layer


@dataclass(frozen=True, kw_only=True)
class UntrainedNetwork(NetworkSpec):
    """A network of realistic size with random weights, for measurements of speed."""

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]  # of one row of its input `frames`
