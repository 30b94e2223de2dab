"""What models read, made of the columns of events."""

from tamis.features.inputs import (
    InputRows,
    columns_read,
    find_inputs,
    frame_read,
    input_rows,
    telling_needs,
)
from tamis.features.jets import JET_COLUMNS, Jets, jets_of, leading_jets
from tamis.features.lepton_event import LEPTON_EVENT_VALUES
from tamis.features.particles import PARTICLE_VALUES
from tamis.features.rows import FEATURE_GROUP, Feature, Rows, feature_names, find_feature

__all__ = [
    "FEATURE_GROUP",
    "JET_COLUMNS",
    "LEPTON_EVENT_VALUES",
    "PARTICLE_VALUES",
    "Feature",
    "InputRows",
    "Jets",
    "Rows",
    "columns_read",
    "feature_names",
    "find_feature",
    "find_inputs",
    "frame_read",
    "input_rows",
    "jets_of",
    "leading_jets",
    "telling_needs",
]
