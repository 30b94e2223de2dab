"""Where a detector stands against the baselines, in words."""

from __future__ import annotations

from collections.abc import Iterator
from math import hypot

from tamis.measure import Discrimination, Estimate, Evaluation

BASELINE_NAMES = ("jet mass", "-tau21", "multiplicity", "-multiplicity", "jet pT", "width", "-width")
OF_FRAMES = ("width", "-width")  # baselines that only frames have
CLEARLY = 2.0  # standard deviations


def score_of(evaluation: Evaluation) -> str:
    """Return the name of the score: the output of that name, else the first variable that is no baseline."""
    names = list(dict.fromkeys(f.variable for f in evaluation.figures))
    outputs = [name for name in names if name not in BASELINE_NAMES]
    return "score" if "score" in outputs else (outputs or names or ["score"])[0]


def estimates(found: Discrimination) -> dict[str, Estimate]:
    """Return the figures of merit by what they are called."""
    named = {f"signal efficiency at background {e}": value for e, value in found.signal_efficiency.items()}
    return {"AUC": found.auc, **named}


def losses(evaluation: Evaluation, score: str) -> Iterator[str]:
    """Yield a sentence for every signal and figure of merit: to which baselines the detector loses, or that it does not."""
    for facts in evaluation.signals:
        of_signal = {f.variable: f for f in evaluation.figures if f.signal == facts.name}
        if score not in of_signal:
            continue
        mine = estimates(of_signal[score])
        for figure, own in mine.items():
            ahead = [
                (name, theirs)
                for name in BASELINE_NAMES
                if name in of_signal and (theirs := estimates(of_signal[name])[figure]).value > own.value
            ]
            yield _sentence(facts.name, figure, own, ahead)


def _sentence(signal: str, figure: str, own: Estimate, ahead: list[tuple[str, Estimate]]) -> str:
    if not ahead:
        return f"{signal}, {figure}: no baseline is ahead of the detector ({pm(own)})."
    told = ", ".join(
        f"{name} ({pm(e)}{'' if _clear(own, e) else ', within the errors'})"
        for name, e in sorted(ahead, key=lambda x: -x[1].value)
    )
    return f"{signal}, {figure}: **the detector ({pm(own)}) loses to** {told}."


def _clear(own: Estimate, theirs: Estimate) -> bool:
    return theirs.value - own.value > CLEARLY * hypot(own.error, theirs.error)


def pm(estimate: Estimate) -> str:
    """Return a value and its error."""
    return f"{estimate.value:.4f} ± {estimate.error:.4f}"
