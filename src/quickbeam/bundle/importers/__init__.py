"""Turning what people train with into ONNX: one file per format."""

from quickbeam.bundle.importers.convert import FORMATS, import_model

__all__ = ["FORMATS", "import_model"]
