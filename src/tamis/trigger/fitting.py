"""Which features and shipped models can run on a file: those that find all of their columns in it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from tamis._base import registry
from tamis.bundle import BUNDLE_GROUP, Bundle
from tamis.features import feature_names, find_feature
from tamis.features.inputs import columns_read


@dataclass(frozen=True)
class ModelFit:
    """A shipped model, the features of its inputs, and the columns that a file lacks for them."""

    model: str
    features: tuple[str, ...]
    missing: tuple[str, ...]


def models_on(columns: Collection[str]) -> list[ModelFit]:
    """Return every shipped model that reads events, with the columns that it misses among some."""
    found = []
    for name in registry.names(BUNDLE_GROUP):
        inputs = Bundle.open(name).manifest.signature.inputs
        features = {spec.name: find_feature(spec.feature) for spec in inputs if spec.feature is not None}
        if len(features) == len(inputs):
            missing = tuple(column for column in columns_read(features) if column not in columns)
            named = tuple(dict.fromkeys(feature.name for feature in features.values()))
            found.append(ModelFit(name, named, missing))
    return found


def features_on(columns: Collection[str]) -> list[str]:
    """Return the names of the features that can be computed from some columns."""
    return [name for name in feature_names() if all(column in columns for column in find_feature(name).reads)]
