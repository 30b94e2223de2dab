"""Calling compiled models from Python."""

from tamis.native.call.any_sizes import AnySizes
from tamis.native.call.holding import HoldingKernel
from tamis.native.call.kernel import Kernel
from tamis.native.call.open import open_kernel, open_kernels

__all__ = ["AnySizes", "HoldingKernel", "Kernel", "open_kernel", "open_kernels"]
