"""Alarms: seconds in which something moved, found before the verdict on their block."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LEAST_EVENTS = 0.2  # of a typical step: with fewer, a step raises no alarm
APART_S = 5  # seconds between steps of one alarm at most
STAYS = 0.8  # of the limit, above which an alarm lasts


@dataclass(frozen=True)
class StepAlarm:
    """Some seconds of a block in which the features moved."""

    first: int  # second of the block
    last: int
    score: float  # the largest one, over its limit
    change: np.ndarray  # mean of the features over these seconds
    lasts: bool  # since the block before


def weight_of_events(events: np.ndarray, typical: float) -> np.ndarray:
    """Return by how much the changes of blocks or steps with few events count less."""
    weight: np.ndarray = np.sqrt(np.minimum(1, events / typical))
    return weight


def pair_scores(scores: np.ndarray, block: np.ndarray) -> np.ndarray:
    """Return the smaller score of each step and the one before; 0 for the first step of a block."""
    pairs = np.zeros_like(scores)
    pairs[1:] = np.minimum(scores[1:], scores[:-1]) * (block[1:] == block[:-1])
    return pairs


def find_alarms(
    second: np.ndarray,
    scores: np.ndarray,
    changes: np.ndarray,
    limit: float,
    pair_limit: float,
    *,
    lasting: bool,
) -> list[StepAlarm]:
    """Return the alarms of a block; with `lasting` the block before ended with one, which goes on while scores stay high."""
    over = scores / limit
    pair = pair_scores(scores, np.zeros(len(scores))) / pair_limit
    over = np.maximum(over, np.maximum(pair, np.r_[pair[1:], 0][: len(pair)]))
    raised = np.flatnonzero(over > 1)
    high = np.flatnonzero(over > STAYS)
    found: list[StepAlarm] = []
    begin = 0
    while begin < len(high):
        end = begin
        while end + 1 < len(high) and second[high[end + 1]] - second[high[end]] <= APART_S:
            end += 1
        rows = high[begin : end + 1]
        begin = end + 1
        lasts = lasting and second[rows[0]] <= APART_S and not found
        own = raised[(raised >= rows[0]) & (raised <= rows[-1])]
        if lasts or len(own):
            rows = rows if lasts else rows[rows >= own[0]]
            found.append(
                StepAlarm(
                    int(second[rows[0]]),
                    int(second[rows[-1]]),
                    float(over[rows].max()),
                    changes[rows].mean(axis=0),
                    lasts,
                )
            )
    return found
