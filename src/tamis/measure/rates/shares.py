"""What each simulated event represents: its share of the input rate.

Without `collisions` in the list of samples, the background samples make up the input in proportion to their cross-sections.

With `collisions`, the input is bunch crossings with a Poisson number of collisions, and every event is one collision of its process
with Poisson pile-up around it. By Mecke's formula the mean over crossings of a sum over their collisions is

    E[ sum over x in crossing of g(x, crossing) ] = collisions * E[ g(x, crossing with x) ]

Let g select the hardest collision: then every crossing is counted once, in the sample whose range has its hardest collision. An
event whose pile-up is harder than its own collision counts 0, and the others have the share collisions * (cross-section of the sample /
of all collisions) * (its part of the sample's weights). In the range that begins at 0 every collision of the crossing may be the one,
so g is 1 / (number of collisions) if none is harder than the range: no event counts 0 there for being ordinary. Samples without
a range are processes of their own, rare enough to come once at most, and not part of the cross-section of all collisions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tamis._base import DataError, UsageError
from tamis.measure.rates.sample_list import SampleList, SampleSpec

CROSS_SECTION = "tamis_cross_section_pb"  # of each event's process, as `tamis simulate` estimates it
PT_HAT, PILE_UP_PT_HAT, PILE_UP = "Generator_binvar", "Pileup_pthatmax", "Pileup_nPU"


@dataclass(frozen=True)
class SampleEvents:
    """One sample: the weights of its events, and the columns that tell what they represent."""

    name: str
    spec: SampleSpec
    weight: np.ndarray
    columns: Mapping[str, np.ndarray]

    @classmethod
    def of(
        cls, name: str, spec: SampleSpec, chunks: Sequence[Mapping[str, np.ndarray]], events: int
    ) -> SampleEvents:
        """Join the chunks of a sample; raises UsageError without events, or without a positive sum of weights."""
        common = [key for key in (chunks[0] if chunks else {}) if all(key in chunk for chunk in chunks)]
        columns = {key: np.concatenate([chunk[key] for chunk in chunks]).astype(np.float64) for key in common}
        weight = columns[spec.weight] if spec.weight and events else np.ones(events)
        if not len(weight) or not weight.sum() > 0:
            raise UsageError(
                f"the sample of {', '.join(spec.files)} has no events, or the sum of its weights is not positive"
            )
        return cls(name, spec, weight, columns)

    @property
    def part(self) -> np.ndarray:
        """Return the part of the sample's weights that each event has."""
        return self.weight / self.weight.sum()

    @property
    def cross_section_pb(self) -> float:
        """Return the cross-section: that of the list, or the mean of what the files say."""
        if self.spec.cross_section_pb is not None:
            return self.spec.cross_section_pb
        if CROSS_SECTION in self.columns:
            return float(self.columns[CROSS_SECTION].mean())
        if self.spec.kind == "signal":
            return 0.0
        raise UsageError(
            f"the background sample {self.name} needs cross_section_pb, its cross-section in picobarn: its files have no column {CROSS_SECTION}"
        )


def columns_of_weights(samples: SampleList, spec: SampleSpec) -> tuple[list[str], list[str]]:
    """Return the columns that the shares of a sample's events need, and those that they use where they are."""
    needed = [PT_HAT, PILE_UP_PT_HAT, PILE_UP] if samples.collisions and spec.pt_hat_gev else []
    return [*([spec.weight] if spec.weight else []), *needed], [CROSS_SECTION]


def plain_shares(samples: Sequence[SampleEvents]) -> list[np.ndarray]:
    """Return the shares of an input that consists of the background samples; those of a signal add up to 1."""
    of_sample = [one.cross_section_pb for one in samples]
    total = sum(found for found, one in zip(of_sample, samples, strict=True) if one.spec.kind == "background")
    return [
        (found if one.spec.kind == "background" or one.spec.cross_section_pb else total) / total * one.part
        for found, one in zip(of_sample, samples, strict=True)
    ]


def crossing_shares(samples: SampleList, described: Sequence[SampleEvents]) -> list[np.ndarray]:
    """Return the shares of an input of bunch crossings; see above."""
    assert samples.collisions is not None  # noqa: S101 - what the caller asked for
    every = next(one for one in described if one.spec.kind == "background" and _begins_at_zero(one.spec))
    return [_crossing_share(one, samples.collisions, every.cross_section_pb) for one in described]


def _begins_at_zero(spec: SampleSpec) -> bool:
    return spec.pt_hat_gev is not None and spec.pt_hat_gev[0] == 0


def _crossing_share(one: SampleEvents, collisions: float, all_collisions_pb: float) -> np.ndarray:
    if one.spec.kind == "signal" and one.spec.cross_section_pb is None:
        return one.part
    share = collisions * one.cross_section_pb / all_collisions_pb * one.part
    if one.spec.pt_hat_gev is None:
        return share
    low, high = one.spec.pt_hat_gev
    own, others = one.columns[PT_HAT], one.columns[PILE_UP_PT_HAT]
    inside = own < (np.inf if high is None else high)
    if low == 0:
        return np.where(inside & (others < (np.inf if high is None else high)), share, 0.0) / (
            1.0 + one.columns[PILE_UP]
        )
    chosen = np.where(inside & (own >= low) & (own > others), share, 0.0)
    if not chosen.any():
        raise DataError(
            f"no event of the sample {one.name} has its hardest collision in its pt_hat_gev, {low:g} to {high}: simulate it "
            f"with --pt-hat {low:g} or less"
        )
    return chosen
