"""What models read, made of the columns of events."""

from quickbeam.features.jets import JET_COLUMNS, Jets, jets_of, leading_jets
from quickbeam.features.rows import FEATURE_GROUP, Feature, Rows, feature_names, find_feature

__all__ = [
    "FEATURE_GROUP",
    "JET_COLUMNS",
    "Feature",
    "Jets",
    "Rows",
    "feature_names",
    "find_feature",
    "jets_of",
    "leading_jets",
]
