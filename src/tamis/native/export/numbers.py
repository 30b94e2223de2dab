"""Arrays of floats in C: as bits, so that every number, infinities and NaN among them, is the same one there."""

from __future__ import annotations

import numpy as np

PER_LINE = 16


def float_array(name: str, values: np.ndarray) -> str:
    """Return the definition of an array; `NAME.numbers` are its floats, at a multiple of 64 bytes."""
    bits = np.ascontiguousarray(values, np.float32).ravel().view(np.uint32).tolist()
    words = [f"{word:#x}" if word else "0" for word in bits]
    lines = [",".join(words[start : start + PER_LINE]) for start in range(0, len(words), PER_LINE)]
    size = max(1, len(words))
    body = ",\n".join(lines) or "0"
    return (
        f"static const union {{ uint32_t bits[{size}]; float numbers[{size}]; }} {name} __attribute__((aligned(64))) = {{{{\n"
        f"{body}\n}}}};\n"
    )
