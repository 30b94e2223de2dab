"""Bundles for other servers: a Triton model repository that runs them behind their gate."""

from quickbeam.serve.export.triton import export_triton

__all__ = ["export_triton"]
