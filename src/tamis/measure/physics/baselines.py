"""A detector's figures of merit next to those of the baselines, which are single variables of the same jets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import hypot

from tamis.records import Discrimination, Estimate, Evaluation

JET_BASELINES = ("jet mass", "-tau21", "multiplicity", "-multiplicity", "jet pT")
FRAME_BASELINES = ("width", "-width")  # computed from frames only
LEVEL1_BASELINES = (  # of events; computed from the inputs of models in the Level-1 trigger
    "MET", "leading e/gamma pT", "leading muon pT", "leading jet pT", "HT", "total ET", "largest region",
)  # fmt: skip
BASELINE_NAMES = (*JET_BASELINES, *FRAME_BASELINES, *LEVEL1_BASELINES)
SIGNIFICANCE = 2.0  # standard deviations by which two estimates are clearly different


@dataclass(frozen=True)
class Standing:
    """One figure of merit of the detector on one signal, and the baselines with a larger value, best first."""

    signal: str
    figure: str
    detector: Estimate
    ahead: tuple[tuple[str, Estimate], ...]


def score_name(evaluation: Evaluation) -> str:
    """Return the name of the score: the output "score" if there is one, else the first variable that is not a baseline."""
    names = list(dict.fromkeys(f.variable for f in evaluation.figures))
    outputs = [name for name in names if name not in BASELINE_NAMES]
    return "score" if "score" in outputs else (outputs or names or ["score"])[0]


def figures_of_merit(discrimination: Discrimination) -> dict[str, Estimate]:
    """Return the AUC and the signal efficiencies by name."""
    efficiencies = {
        f"signal efficiency at background {e}": value for e, value in discrimination.signal_efficiency.items()
    }
    return {"AUC": discrimination.auc, **efficiencies}


def standings(evaluation: Evaluation, score: str) -> Iterator[Standing]:
    """Yield how the detector compares with the baselines, for every signal and figure of merit."""
    for facts in evaluation.signals:
        of_signal = {f.variable: f for f in evaluation.figures if f.signal == facts.name}
        if score not in of_signal:
            continue
        for figure, detector in figures_of_merit(of_signal[score]).items():
            baselines = {
                name: figures_of_merit(of_signal[name])[figure]
                for name in BASELINE_NAMES
                if name in of_signal
            }
            ahead = [(name, value) for name, value in baselines.items() if value.value > detector.value]
            ahead.sort(key=lambda item: -item[1].value)
            yield Standing(facts.name, figure, detector, tuple(ahead))


def clearly_apart(a: Estimate, b: Estimate) -> bool:
    """Return whether two estimates differ by more than `SIGNIFICANCE` standard deviations of their difference."""
    return abs(a.value - b.value) > SIGNIFICANCE * hypot(a.error, b.error)
