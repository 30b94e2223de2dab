"""Bundles for other servers: a Triton model repository that runs them behind their gate."""

from tamis.serve.export.triton import export_triton
from tamis.serve.export.triton_server import TritonAddress, triton_server
from tamis.serve.export.verified import verify_export

__all__ = ["TritonAddress", "export_triton", "triton_server", "verify_export"]
