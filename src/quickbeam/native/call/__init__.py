"""Calling compiled models from Python."""

from quickbeam.native.call.kernel import Kernel, open_kernel

__all__ = ["Kernel", "open_kernel"]
