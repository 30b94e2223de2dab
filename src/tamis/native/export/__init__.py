"""Export of a bundle as C sources without dependencies, for frameworks without Python."""

from tamis.native.export.write import export_c

__all__ = ["export_c"]
