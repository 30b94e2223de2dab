"""From generated C to a shared object: compilers, processors, and the cache of what was compiled."""

from tamis.native.build.cache import Entry, cache_root, cached, key_of
from tamis.native.build.levels import LEVELS, Level, find_level, host_level
from tamis.native.build.module import load_module
from tamis.native.build.object import Built, build
from tamis.native.build.toolchain import Compiler, compile_shared, find_compiler

__all__ = [
    "LEVELS",
    "Built",
    "Compiler",
    "Entry",
    "Level",
    "build",
    "cache_root",
    "cached",
    "compile_shared",
    "find_compiler",
    "find_level",
    "host_level",
    "key_of",
    "load_module",
]
