"""Open compiled code: through an extension module where one can be compiled, else through ctypes."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from tamis._base import InputMismatchError, ModelError
from tamis.cbuild import Compiler, find_compiler, load_module
from tamis.native.build import Built
from tamis.native.build.timing import aligned
from tamis.native.call.casting import CastingKernel
from tamis.native.call.holding import HoldingKernel
from tamis.native.call.kernel import CtypesKernel, Kernel, LoadedCode

CYCLES_PER_NS = 2.5  # about; converts estimated cycles to time
RELEASE_NS = 5_000  # longer calls release the GIL
SIGNAL_CHECK_NS = 100_000_000  # between two checks for Ctrl-C


def open_kernel(
    built: Built, *, batched: bool = True, compiler: Compiler | None = None, use_extension: bool = True
) -> Kernel:
    """Load compiled code. Without the extension a call takes some microseconds more, but needs no Python headers."""
    (kernel,) = open_kernels([built], batched=batched, compiler=compiler, use_extension=use_extension)
    return kernel


def open_kernels(
    sizes: Sequence[Built],
    *,
    batched: bool = True,
    compiler: Compiler | None = None,
    use_extension: bool = True,
) -> list[Kernel]:
    """Load compiled code once, with a kernel for each size of events; they share weights and scratch."""
    library, weights = load_library(sizes[0].path), aligned(sizes[0].constants)
    extension = load_extension(compiler or find_compiler()) if use_extension else None
    kernels: list[Kernel] = []
    first: Any = None
    for built in sizes:
        kernel = plain_kernel(extension, loaded(library, weights, built, batched=batched), first)
        first = first or kernel
        kernel = cast(kernel, built.types, len(built.inputs))
        kernels.append(HoldingKernel(kernel, built.held) if built.held else kernel)
    return kernels


def plain_kernel(extension: ModuleType | None, code: LoadedCode, shares: Any) -> Kernel:
    """Return a kernel of code for floats, with the scratch of another one if there is one."""
    if extension is None:
        return CtypesKernel(code, shares)
    built = code.built
    shared = {} if shares is None else {"shares": shares}
    kernel: Kernel = extension.Program(
        address=code.address,
        keep=code.library,
        weights=code.weights,
        scratch_floats=built.scratch_floats,
        inputs=built.inputs,
        outputs=built.outputs,
        group=code.group,
        release=code.release,
        piece=code.piece,
        error=InputMismatchError,
        row=built.row,
        **shared,
    )
    return kernel


def cast(kernel: Kernel, types: Sequence[str], inputs: int) -> Kernel:
    """Return a kernel that takes and returns the types of the model."""
    if all(dtype == "float32" for dtype in types):
        return kernel
    return CastingKernel(kernel, tuple(types[:inputs]), tuple(types[inputs:]))


def load_extension(compiler: Compiler) -> ModuleType | None:
    """Return the extension module that calls compiled models; None if it cannot be compiled."""
    fallback = "models are called through ctypes, some microseconds slower per call"
    return load_module(compiler, "tamis_call", _extension_source(), (np.get_include(),), fallback=fallback)


@cache
def _extension_source() -> str:
    version = f"/* numpy {np.__version__} */\n"  # the module is compiled again for another numpy
    return version + (files("tamis.native.call") / "call.c").read_text(encoding="utf-8")


def load_library(path: Path) -> ctypes.CDLL:
    """Load a shared object."""
    try:
        library = ctypes.CDLL(str(path))
        library.tamis_run  # noqa: B018 - AttributeError if it is missing
    except (OSError, AttributeError) as error:
        raise ModelError(
            f"the compiled model cannot be loaded: {error}; set TAMIS_CACHE to a folder that code may be run from"
        ) from error
    return library


def loaded(library: ctypes.CDLL, weights: np.ndarray, built: Built, *, batched: bool) -> LoadedCode:
    """Return code with what a kernel needs to call it."""
    ns = max(1.0, built.cycles / CYCLES_PER_NS)
    return LoadedCode(
        library=library,
        address=ctypes.cast(library.tamis_run, ctypes.c_void_p).value or 0,
        weights=weights,
        built=built,
        group=built.inputs[0][0] if batched else 0,
        release=max(1, int(RELEASE_NS / ns)),
        piece=max(64, int(SIGNAL_CHECK_NS / ns) // 64 * 64),
        row=built.row,
    )
