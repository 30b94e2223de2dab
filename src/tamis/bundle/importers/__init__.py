"""Import models of other formats as ONNX: one file per format."""

from tamis.bundle.importers.classifier_trees import plain_classifiers
from tamis.bundle.importers.convert import FORMATS, Imported, import_model, recognise
from tamis.bundle.importers.plain_outputs import plain_outputs
from tamis.bundle.importers.qonnx import expand_qonnx, is_qonnx

__all__ = [
    "FORMATS",
    "Imported",
    "expand_qonnx",
    "import_model",
    "is_qonnx",
    "plain_classifiers",
    "plain_outputs",
    "recognise",
]
