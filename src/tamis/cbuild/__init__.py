"""C code at run time: find a compiler, call it, cache its output per user, load extension modules."""

from tamis.cbuild.cache import CacheEntry, cache_root, cached, key_of
from tamis.cbuild.module import load_module
from tamis.cbuild.toolchain import (
    COMPILE_FLAGS,
    NUMERIC_FLAGS,
    Compiler,
    compile_shared,
    find_compiler,
    try_compiler,
)

__all__ = [
    "COMPILE_FLAGS",
    "NUMERIC_FLAGS",
    "CacheEntry",
    "Compiler",
    "cache_root",
    "cached",
    "compile_shared",
    "find_compiler",
    "key_of",
    "load_module",
    "try_compiler",
]
