"""A compiled model as something to call: through the extension where one can be built, else through ctypes."""

from __future__ import annotations

import ctypes

from tamis._base import InputMismatchError, ModelError
from tamis.native.aligned import aligned
from tamis.native.build import Built, Compiler, find_compiler
from tamis.native.call.extension import load_extension
from tamis.native.call.plain import PlainKernel
from tamis.native.call.seam import Call, Kernel
from tamis.native.call.whole import WholeKernel

CYCLES_PER_NS = 2.5  # about; only to tell short calls from long ones
SHORT_NS, PIECE_NS = (
    5_000,
    100_000_000,
)  # other threads may run meanwhile; a call looks for Ctrl-C as often as this


def open_kernel(
    built: Built, *, batched: bool = True, compiler: Compiler | None = None, plain: bool = False
) -> Kernel:
    """Load compiled code; `plain` is the slower way that needs no headers of Python."""
    made = _open(built, batched=batched, compiler=compiler, plain=plain)
    if all(kind == "float32" for kind in built.types):
        return made
    many = len(built.inputs)
    return WholeKernel(made, built.types[:many], built.types[many:])


def _open(built: Built, *, batched: bool, compiler: Compiler | None, plain: bool) -> Kernel:
    call = _prepare(built, batched=batched)
    extension = None if plain else load_extension(compiler or find_compiler())
    if extension is None:
        return PlainKernel(call)
    made: Kernel = extension.Program(
        address=call.address,
        keep=call.library,
        weights=call.weights,
        scratch_floats=built.scratch_floats,
        inputs=built.inputs,
        outputs=built.outputs,
        group=call.group,
        release=call.release,
        piece=call.piece,
        error=InputMismatchError,
    )
    return made


def _prepare(built: Built, *, batched: bool) -> Call:
    try:
        library = ctypes.CDLL(str(built.path))
        address = ctypes.cast(library.tamis_run, ctypes.c_void_p).value or 0
    except (OSError, AttributeError) as error:
        raise ModelError(
            f"the compiled model cannot be loaded: {error}; name a folder from where code may be run in TAMIS_CACHE"
        ) from error
    ns = max(1.0, built.cycles / CYCLES_PER_NS)
    return Call(
        library=library,
        address=address,
        weights=aligned(built.constants),
        built=built,
        group=built.inputs[0][0] if batched else 0,
        release=max(1, int(SHORT_NS / ns)),
        piece=max(64, int(PIECE_NS / ns) // 64 * 64),
    )
