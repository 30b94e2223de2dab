"""Export of bundles to a model repository of NVIDIA Triton, which runs them behind their gate."""

from tamis.serve.export.triton import export_triton
from tamis.serve.export.triton_server import TritonAddress, check_verifiable, triton_server, verify_export

__all__ = ["TritonAddress", "check_verifiable", "export_triton", "triton_server", "verify_export"]
