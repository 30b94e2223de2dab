"""Training data: rows of jets, events, images and arrays, read from files and split."""

from tamis.zoo.data.arrays import ArrayRows, ArraySplit, load_arrays, load_features, load_rows, split_rows
from tamis.zoo.data.class_rows import ClassRows, ReadOptions, RowSelection, read_class
from tamis.zoo.data.jets import JetSplit, LoadedJets, load_jets, split_jets
from tamis.zoo.data.labelled import Labelled, LabelledSplit, check_classes, load_by_file, split_classes
from tamis.zoo.data.truth_frames import TaggedFrames, load_by_truth, same_spectrum

__all__ = [
    "ArrayRows",
    "ArraySplit",
    "ClassRows",
    "JetSplit",
    "Labelled",
    "LabelledSplit",
    "LoadedJets",
    "ReadOptions",
    "RowSelection",
    "TaggedFrames",
    "check_classes",
    "load_arrays",
    "load_by_file",
    "load_by_truth",
    "load_features",
    "load_jets",
    "load_rows",
    "read_class",
    "same_spectrum",
    "split_classes",
    "split_jets",
    "split_rows",
]
