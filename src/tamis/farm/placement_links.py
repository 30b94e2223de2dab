"""Links between CPU and GPU: bandwidth and the fixed time of a copy."""

from __future__ import annotations

from tamis._base import UsageError, did_you_mean
from tamis.records import PlacementLink

COPY_US = 10.0  # an assumption: launch and completion of one asynchronous copy
PCIE = "line rate of 16 lanes with their 128b/130b encoding, which copies do not quite reach"
C2C = "NVIDIA's figure of 900 GB/s for both directions together"
LINKS = {
    name: PlacementLink(
        name=name,
        gb_per_s=gb_per_s,
        copy_us=COPY_US,
        source=f"{source}; {COPY_US:g} us per copy are assumed",
    )
    for name, gb_per_s, source in (
        ("pcie3", 15.75, PCIE),
        ("pcie4", 31.5, PCIE),
        ("pcie5", 63.0, PCIE),
        ("nvlink-c2c", 450.0, C2C),
    )
}


def parse_link(text: str) -> PlacementLink:
    """Return a link of the table, or that of `GB/s,us`: bandwidth in each direction, and time of each copy."""
    if text in LINKS:
        return LINKS[text]
    try:
        gb_per_s, copy_us = (float(part) for part in text.split(","))
    except ValueError:
        hint = did_you_mean(text, list(LINKS))
        raise UsageError(
            f"no link is called {text!r}: links are {', '.join(LINKS)}, or GB/s and us per copy, such as 25,8; {hint}".rstrip(
                "; "
            )
        ) from None
    if not (0 < gb_per_s < float("inf") and 0 <= copy_us < float("inf")):
        raise UsageError(
            f"the link {text!r} needs a bandwidth above 0 GB/s and a time of at least 0 us, such as 25,8"
        )
    return PlacementLink(name=text, gb_per_s=gb_per_s, copy_us=copy_us, source="given")
