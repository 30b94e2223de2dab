"""From generated C to a shared object: compiled, timed and cached."""

from tamis.native.build.object import Built, BuiltSizes, build, build_sizes

__all__ = ["Built", "BuiltSizes", "build", "build_sizes"]
