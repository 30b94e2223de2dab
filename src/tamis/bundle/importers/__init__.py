"""Import models of other formats as ONNX: one file per format."""

from tamis.bundle.importers.convert import FORMATS, Imported, import_model, recognise
from tamis.bundle.importers.plain_outputs import plain_outputs

__all__ = ["FORMATS", "Imported", "import_model", "plain_outputs", "recognise"]
