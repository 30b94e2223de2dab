"""Working points: thresholds on the score for a fraction of the background, and the decisions that differ at them."""

from __future__ import annotations

import math
import re

import numpy as np

from tamis._base import DataError, UsageError
from tamis.bundle.manifest import WorkingPoint
from tamis.records import Flips

CONFIDENCE_Z = 1.959963984540054  # 95 %, two-sided
BACKGROUND_ABOVE_MIN = 10  # rows of background above a threshold


def parse_working_points(texts: tuple[str, ...]) -> dict[str, float]:
    """Parse `NAME=RATE` into the accepted fraction of the background by name: `tight=0.001` or `tight=0.1%`."""
    points: dict[str, float] = {}
    for text in texts:
        name, _, rate = (part.strip() for part in text.partition("="))
        number = re.fullmatch(r"(\d*\.?\d+(?:[eE][-+]?\d+)?)\s*(%?)", rate)
        if not name or number is None:
            advice = (
                "; for a rate in Hz, tune the path of a menu: tamis rates" if "hz" in rate.lower() else ""
            )
            raise UsageError(
                f"--working-point {text!r} is not of the form NAME=RATE, where RATE is the accepted fraction of the "
                f"background, as in tight=0.001 or tight=0.1%{advice}"
            )
        fraction = float(number[1]) / (100 if number[2] else 1)
        if not 0 < fraction < 1:
            raise UsageError(
                f"--working-point {text!r} accepts {100 * fraction:g} % of the background; expected more than 0 and less than 100 %"
            )
        if name in points:
            raise UsageError(f"--working-point names {name!r} twice; give each point a name of its own")
        points[name] = fraction
    return points


def background_point(name: str, fraction: float, scores: np.ndarray, rows: str) -> WorkingPoint:
    """Return the threshold that a fraction of the background is above; `rows` says what the scores belong to.

    A row whose score is NaN is counted and never accepted.
    """
    if len(scores) * fraction < BACKGROUND_ABOVE_MIN:
        raise DataError(
            f"the working point {name} accepts {100 * fraction:g} % of the background, which is {len(scores) * fraction:.3g} of "
            f"{len(scores)} {rows}; at least {BACKGROUND_ABOVE_MIN} are needed: give {BACKGROUND_ABOVE_MIN / fraction:.0f} rows "
            "or more, or accept a larger fraction"
        )
    values = np.where(np.isnan(scores), -np.inf, scores).astype(np.float64)
    with np.errstate(invalid="ignore"):
        threshold = float(np.quantile(values, 1.0 - fraction))
    if not np.isfinite(threshold):
        usable = float(np.mean(np.isfinite(values)))
        raise DataError(
            f"the working point {name} cannot accept {100 * fraction:g} % of the background: only {100 * usable:.3g} % of the "
            f"{len(scores)} {rows} have a finite score"
        )
    return threshold_point(name, threshold, values, rows)


def threshold_point(name: str, threshold: float, scores: np.ndarray, rows: str) -> WorkingPoint:
    """Return the working point of a threshold, with the fraction of the background above it."""
    return WorkingPoint(
        name=name,
        threshold=threshold,
        background_efficiency=float(np.mean(scores > threshold)),
        background=f"{len(scores)} {rows}",
    )


def decision_flips(
    working_points: tuple[WorkingPoint, ...], value: np.ndarray, reference: np.ndarray
) -> tuple[Flips, ...]:
    """Count the decisions that differ from the reference's at each working point; none for scores that are not scalars."""
    if value.shape != reference.shape or value.size != (len(value) if value.ndim else 1):
        return ()
    flips = []
    for point in working_points:
        passed, expected = np.ravel(value) > point.threshold, np.ravel(reference) > point.threshold
        count = int(np.sum(passed != expected))
        low, high = wilson(count, passed.size)
        flips.append(
            Flips(
                working_point=point.name,
                threshold=point.threshold,
                decisions=int(passed.size),
                flips=count,
                low=low,
                high=high,
            )
        )
    return tuple(flips)


def wilson(successes: float, trials: float, z: float = CONFIDENCE_Z) -> tuple[float, float]:
    """Return the Wilson score interval of a probability, by default at 95 %; (0, 1) without trials."""
    if trials == 0:
        return 0.0, 1.0
    share = successes / trials
    centre = share + z * z / (2 * trials)
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    low, high = (centre - half) / scale, (centre + half) / scale
    return (0.0 if successes == 0 else low), (1.0 if successes == trials else high)
