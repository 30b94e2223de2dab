"""A bundle as C sources that need nothing: for frameworks without Python."""

from tamis.native.export.write import export_c

__all__ = ["export_c"]
