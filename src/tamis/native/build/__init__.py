"""From generated C to a shared object: compiled, timed and cached."""

from tamis.native.build.object import Built, build

__all__ = ["Built", "build"]
