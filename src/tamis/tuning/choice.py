"""Choose the engine for each batch size: the fastest verified one, or the usual one if the difference is within noise."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from tamis._base import UsageError, host_facts, human_bytes, utc_timestamp
from tamis.bundle import Bundle
from tamis.records import EngineChoice, EnginePlan, EngineTime, Objective

MARGIN = 0.01  # engines whose times differ by less than this, or by less than their noise, are equally fast


def choose_engines(
    bundle: Bundle,
    measured: Sequence[EngineTime],
    *,
    objective: Objective = "warm",
    memory_bytes: int | None = None,
    refused: Sequence[str] = (),
    dims: Mapping[str, tuple[int, ...]] | None = None,
) -> EnginePlan:
    """Return the engine plan for this host; `dims` are the sizes that its engines compile ahead."""
    draft = EnginePlan(
        created=utc_timestamp(),
        host=host_facts(),
        model=bundle.manifest.files["model.onnx"].sha256,
        objective=objective,
        memory_bytes=memory_bytes,
        dims=dict(dims or {}),
        choices=(),
        measured=tuple(measured),
        refused=tuple(refused),
    )
    # the engine that is fastest most often; a session that uses it alone opens no other
    wins = Counter(_allowed(draft, batch)[0].engine for batch in {time.batch for time in measured})
    usual = max(sorted(wins), key=lambda name: wins[name])
    choices = [_choice(draft, batch, usual) for batch in sorted({time.batch for time in measured})]
    return draft.model_copy(update={"choices": tuple(choices)})


def _allowed(plan: EnginePlan, batch: int) -> list[EngineTime]:
    """Return the measurements within the memory limit, fastest first."""
    ranked = plan.ranked(batch)
    limit = plan.memory_bytes
    if limit is None:
        return ranked
    fits = [time for time in ranked if time.peak_bytes is None or time.peak_bytes <= limit]
    if not fits:
        least = min(ranked, key=lambda time: time.peak_bytes or 0)
        raise UsageError(
            f"no engine runs within {human_bytes(limit)} at batch {batch}: {least.name} needs the least, "
            f"{human_bytes(least.peak_bytes or 0)}; raise --memory"
        )
    return fits


def _choice(plan: EnginePlan, batch: int, usual: str) -> EngineChoice:
    ranked = _allowed(plan, batch)
    first = chosen = ranked[0]
    price = plan.price
    for time in ranked:
        close = price(time) <= price(first) * (1.0 + max(MARGIN, min(0.03, max(time.noise, first.noise))))
        if close and time.engine == usual and chosen.engine != usual:
            chosen = time
    others = [time for time in ranked if time.engine != chosen.engine]
    why = f"{price(chosen) / 1e3:.3g} us {'with evicted caches' if plan.objective == 'cold' else 'warm'}"
    if others:
        why += f"; {others[0].name} takes {price(others[0]) / price(chosen):.2f} times that"
    if chosen is not first:
        why += f", a difference within the noise, and {usual} is open anyway"
    return EngineChoice(batch=batch, engine=chosen.engine, chunk=chosen.chunk, why=why)
