"""Markdown tables of the measurements, the predictions of the published formula, and the published values."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from formula import PREPROCESSING_S, PUBLISHED, PUBLISHED_FASTER, TRANSMISSION_S, TRAVEL_S, Sonic

COLUMNS = ("hits", "preprocessing", "transmission", "travel", "queue", "compute", "combination")


def lines(record: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of all tables."""
    batch = record["batch"]
    yield (
        f"{record['patches_per_event']:.0f} patches per event in requests of {batch}; {record['events']} events, medians of"
        f" {record['turns']} turns. Results differ by {max(way['differs_most'] for way in record['ways']):.2g} at most; votes are equal."
    )
    yield (
        f"Right class: {100 * record['right_alone']:.1f} % of single hits, {100 * record['right_after_vote']:.1f} % after the vote;"
        f" {record['michels_per_event']:.1f} Michel electrons per event. netem: {record['netem']}"
    )
    yield ""
    yield f"| ms per event | {' | '.join(COLUMNS)} | sum | clock | {record['in_flight']} in flight |"
    yield "|---" * (len(COLUMNS) + 4) + "|"
    for way in record["ways"]:
        parts = [way["parts_ms"][name] for name in COLUMNS]
        cells = [number(value) for value in (*parts, sum(parts), way["whole_ms"])]
        at_once = number(way["at_once_ms"]) if "at_once_ms" in way else ""
        yield f"| {way['name']} | {' | '.join(cells)} | {at_once} |"
    yield (
        f"| published, s | 110 in total | {PREPROCESSING_S:g} | {TRANSMISSION_S} | {TRAVEL_S} | | {PUBLISHED.server_s} | | "
        f"{PUBLISHED.alone_s:.0f} | | |"
    )
    yield ""
    yield "| links | bits over bandwidth | transmission more than on loopback (least) | delays | travel | event by the formula | clock |"
    yield "|---" * 7 + "|"
    for way in record["ways"][2:]:
        yield _checked(record, way)
    yield ""
    yield "| | module | chain | clients per server at the knee |"
    yield "|---" * 4 + "|"
    for way in record["ways"][1:]:
        yield _gains(way["name"], measured(record, way), _preprocessing_s(record))
    for way in record["ways"][1:]:
        name = f"{way['name']}, with a server {PUBLISHED_FASTER:.0f} times faster"
        yield _gains(name, measured(record, way, PUBLISHED_FASTER), _preprocessing_s(record))
    yield _gains("published", PUBLISHED, PREPROCESSING_S)


def number(value: float) -> str:
    """Format with three significant digits, or as an integer from 100 on."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def measured(record: dict[str, Any], way: dict[str, Any], faster: float = 1.0) -> Sonic:
    """Return the parameters of the formula from the measured parts; `faster` divides the server's time."""
    local, parts = record["ways"][0], way["parts_ms"]
    return Sonic(
        cpu_s=local["whole_ms"] / 1e3,
        moves=local["parts_ms"]["compute"] / local["whole_ms"],
        server_s=parts["compute"] / 1e3 / faster,
        latency_s=(parts["transmission"] + parts["travel"] + parts["queue"]) / 1e3,
    )


def predicted(record: dict[str, Any], way: dict[str, Any]) -> Sonic:
    """Return the formula for a link: the latency without a link plus the link's bandwidth and delay.

    The computing time is that measured behind the link, so that other load on a shared machine does not bias the prediction.
    """
    plain, own = measured(record, record["ways"][1]), measured(record, way)
    added_s = (_on_wire_ms(record, way) + _delays_ms(way)) / 1e3
    return Sonic(plain.cpu_s, plain.moves, own.server_s, plain.latency_s + added_s)


def _on_wire_ms(record: dict[str, Any], way: dict[str, Any]) -> float:
    return 8e-3 * record["patches_per_event"] * record["patch_bytes"] / way["mbit_per_s"]


def _delays_ms(way: dict[str, Any]) -> float:
    return float(2.0 * way["delay_ms"] * way["requests_per_event"])


def _checked(record: dict[str, Any], way: dict[str, Any]) -> str:
    more, least = (
        way[kind]["transmission"] - record["ways"][1][kind]["transmission"]
        for kind in ("parts_ms", "least_ms")
    )
    formula = 1e3 * predicted(record, way).alone_s
    off = 100 * (formula / way["whole_ms"] - 1)
    sent = f"{number(_on_wire_ms(record, way))} | {number(more)} ({number(least)})"
    travel = f"{number(_delays_ms(way))} | {number(way['parts_ms']['travel'])}"
    return f"| {way['name']} | {sent} | {travel} | {number(formula)} | {number(way['whole_ms'])} ({off:+.1f} %) |"


def _preprocessing_s(record: dict[str, Any]) -> float:
    return float(record["ways"][0]["parts_ms"]["preprocessing"] / 1e3)


def _gains(name: str, sonic: Sonic, preprocessing_s: float) -> str:
    module = sonic.module_gain(preprocessing_s)
    return f"| {name} | {module:.3g} | {sonic.chain_gain:.3g} | {sonic.knee:.3g} |"
