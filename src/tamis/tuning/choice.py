"""Which engine does which batch size: the fastest that was verified, unless noise alone sets it apart."""

from __future__ import annotations

from collections.abc import Sequence

from tamis._base import UsageError, host_facts, human_bytes, utc_timestamp
from tamis.bundle import Bundle
from tamis.records import EngineChoice, EnginePlan, EngineTime, Objective

MARGIN = 0.01  # two that are closer than this, or than their noise, are the same


def choose_engines(
    bundle: Bundle,
    measured: Sequence[EngineTime],
    *,
    objective: Objective = "warm",
    memory_bytes: int | None = None,
    refused: Sequence[str] = (),
) -> EnginePlan:
    """Return the plan for this host."""
    draft = EnginePlan(
        created=utc_timestamp(),
        host=host_facts(),
        model=bundle.manifest.files["model.onnx"].sha256,
        objective=objective,
        memory_bytes=memory_bytes,
        choices=(),
        measured=tuple(measured),
        refused=tuple(refused),
    )
    usual = _usual(draft)
    choices = [_choice(draft, batch, usual) for batch in sorted({one.batch for one in measured})]
    return draft.model_copy(update={"choices": tuple(choices)})


def _usual(plan: EnginePlan) -> str:
    """Return the engine that is the fastest most often: where nothing else speaks, a session needs no other."""
    wins: dict[str, int] = {}
    for batch in {one.batch for one in plan.measured}:
        first = _allowed(plan, batch)[0]
        wins[first.engine] = wins.get(first.engine, 0) + 1
    return max(sorted(wins), key=lambda name: wins[name])


def _allowed(plan: EnginePlan, batch: int) -> list[EngineTime]:
    """Return what stays below the ceiling of memory, the quickest first."""
    ranked = plan.ranked(batch)
    ceiling = plan.memory_bytes
    if ceiling is None:
        return ranked
    fits = [one for one in ranked if one.peak_bytes is None or one.peak_bytes <= ceiling]
    if not fits:
        least = min(ranked, key=lambda one: one.peak_bytes or 0)
        raise UsageError(
            f"no engine stays below {human_bytes(ceiling)} at batch {batch}: the least is {least.name} "
            f"with {human_bytes(least.peak_bytes or 0)}; allow more with --memory"
        )
    return fits


def _choice(plan: EnginePlan, batch: int, usual: str) -> EngineChoice:
    ranked = _allowed(plan, batch)
    first = chosen = ranked[0]
    price = plan.price
    for one in ranked:
        close = price(one) <= price(first) * (1.0 + max(MARGIN, min(0.03, max(one.noise, first.noise))))
        if close and one.engine == usual and chosen.engine != usual:
            chosen = one
    others = [one for one in ranked if one.engine != chosen.engine]
    told = f"{price(chosen) / 1e3:.3g} us {'with evicted caches' if plan.objective == 'cold' else 'warm'}"
    if others:
        told += f"; {others[0].name} takes {price(others[0]) / price(chosen):.2f} times that"
    if chosen is not first:
        told += f", which noise may explain, and {usual} is open anyway"
    return EngineChoice(batch=batch, engine=chosen.engine, chunk=chosen.chunk, why=told)
