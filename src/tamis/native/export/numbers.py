"""Arrays of floats in C, as bits: exact for every value, infinities and NaN included."""

from __future__ import annotations

import numpy as np

WORDS_PER_LINE = 16


def float_array(name: str, values: np.ndarray) -> str:
    """Return the definition of an array; `NAME.numbers` are its floats, aligned to 64 bytes."""
    bits = np.ascontiguousarray(values, np.float32).ravel().view(np.uint32).tolist()
    words = [f"{word:#x}" if word else "0" for word in bits]
    lines = [
        ",".join(words[start : start + WORDS_PER_LINE]) for start in range(0, len(words), WORDS_PER_LINE)
    ]
    size = max(1, len(words))
    body = ",\n".join(lines) or "0"
    return (
        f"static const union {{ uint32_t bits[{size}]; float numbers[{size}]; }} {name} __attribute__((aligned(64))) = {{{{\n"
        f"{body}\n}}}};\n"
    )
