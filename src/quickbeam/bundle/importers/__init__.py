"""Turning what people train with into ONNX: one file per format."""

from quickbeam.bundle.importers.convert import FORMATS, import_model, recognise
from quickbeam.bundle.importers.plain_outputs import plain_outputs

__all__ = ["FORMATS", "import_model", "plain_outputs", "recognise"]
