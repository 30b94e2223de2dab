"""Model inputs, built from the columns of events."""

from tamis.features.columns import feature_of
from tamis.features.inputs import (
    InputRows,
    columns_read,
    explain_missing_columns,
    find_inputs,
    frame_of,
    input_rows,
)
from tamis.features.jets import JET_COLUMNS, LeadingJets, jets_of, leading_jets
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
    "LeadingJets",
    "Rows",
    "columns_read",
    "explain_missing_columns",
    "feature_names",
    "feature_of",
    "find_feature",
    "find_inputs",
    "frame_of",
    "input_rows",
    "jets_of",
    "leading_jets",
]
