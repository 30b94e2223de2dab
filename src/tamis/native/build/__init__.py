"""From generated C to a shared object: compiled, timed and cached."""

from tamis.native.build.object import Built, BuiltAnySizes, BuiltSizes, build, build_any_sizes, build_sizes

__all__ = ["Built", "BuiltAnySizes", "BuiltSizes", "build", "build_any_sizes", "build_sizes"]
