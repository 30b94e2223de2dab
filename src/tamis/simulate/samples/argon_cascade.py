"""Electrons and photons in liquid argon: ionisation, scattering, bremsstrahlung, pairs and Compton electrons, step by step.

All electrons of many events take their steps together. Cross-sections have the right size and the right trend, no more.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from tamis.simulate.samples.argon_space import Deposits, isotropic, scattered

X0_CM = 14.0
STEP_CM = 0.4
LOSS_MEV_PER_CM = 2.1
SOFTEST_PHOTON_MEV = 1.0
LEAST_MEV = 0.5  # an electron or photon below is absorbed where it is
PAIR_CM = 20.0
LOST_CM = 100.0  # from the middle: nothing comes back from there
STEPS_MAX = 2000


@dataclass(frozen=True)
class Flying:
    """Electrons, or photons: each with its event and the class that its deposits have."""

    event: np.ndarray
    label: np.ndarray
    place: np.ndarray  # (n, 3) in cm
    heading: np.ndarray  # (n, 3), of length one
    energy: np.ndarray  # kinetic, in MeV

    def __len__(self) -> int:
        """Return how many."""
        return len(self.event)

    def take(self, rows: np.ndarray) -> Flying:
        """Return some of them."""
        return Flying(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    @classmethod
    def joined(cls, *parts: Flying) -> Flying:
        """Put some together."""
        return cls(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)})


def cascade(
    electrons: Flying, photons: Flying, photon_label: int, rng: np.random.Generator
) -> list[Deposits]:
    """Follow everything until it has stopped or is far away; what photons leave has a label of its own."""
    found: list[Deposits] = []
    for _ in range(STEPS_MAX):
        if len(photons):
            made, photons, absorbed = _convert(photons, photon_label, rng)
            electrons = Flying.joined(electrons, made)
            found.append(absorbed)
        if not len(electrons):
            if not len(photons):
                break
            continue
        electrons, radiated, left = _step(electrons, rng)
        found.append(left)
        photons = Flying.joined(photons, radiated)
    return found


def _step(electrons: Flying, rng: np.random.Generator) -> tuple[Flying, Flying, Deposits]:
    """Return electrons after a step, the photons that they radiated, and what they left."""
    n, energy = len(electrons), electrons.energy
    lost = LOSS_MEV_PER_CM * STEP_CM * (1.0 + 0.15 * rng.standard_normal(n) + rng.exponential(0.08, n))
    lost = np.minimum(np.maximum(lost, 0.1), energy)
    place = electrons.place + 0.5 * STEP_CM * electrons.heading
    left = Deposits(electrons.event, electrons.label, place, lost, np.full(n, STEP_CM))
    momentum = np.sqrt(energy * (energy + 1.022))
    angle = np.minimum(13.6 / momentum * np.sqrt(STEP_CM / X0_CM), 0.8)
    heading = scattered(electrons.heading, angle, rng)
    after = energy - lost
    softest = SOFTEST_PHOTON_MEV
    spectrum = np.maximum(np.log(np.maximum(after, softest) / softest), 0.0)
    emits = rng.random(n) < STEP_CM / X0_CM * 4.0 / 3.0 * spectrum
    share = np.exp(-rng.random(n) * spectrum)  # of the energy, with equal chances for equal ratios
    emits &= rng.random(n) < 1.0 - share + 0.75 * share**2
    radiated = Flying(electrons.event, electrons.label, electrons.place, heading, share * after).take(emits)
    after = np.where(emits, after * (1.0 - share), after)
    moved = Flying(
        electrons.event, electrons.label, electrons.place + STEP_CM * electrons.heading, heading, after
    )
    return moved.take(_stays(moved)), radiated, left


def _convert(photons: Flying, label: int, rng: np.random.Generator) -> tuple[Flying, Flying, Deposits]:
    """Let photons fly to where they interact; return the electrons, the photons that go on, and what is absorbed."""
    n, energy = len(photons), photons.energy
    mean_cm = np.where(energy < 5.0, 12.0 * np.maximum(energy, LEAST_MEV) ** 0.45, PAIR_CM + 30.0 / energy)
    place = photons.place + rng.exponential(mean_cm)[:, None] * photons.heading
    pair = rng.random(n) < energy / (energy + 12.0)
    share = rng.random(n)
    labels = np.full(n, label)
    spread = np.minimum(3.0 / energy, 0.6)
    first = Flying(photons.event, labels, place, scattered(photons.heading, spread, rng), share * energy)
    second = Flying(
        photons.event, labels, place, scattered(photons.heading, spread, rng), (1.0 - share) * energy
    )
    onward = Flying(photons.event, labels, place, isotropic(n, rng), (1.0 - share) * energy)
    made = Flying.joined(first, second.take(pair))
    soft = made.energy < LEAST_MEV
    absorbed = Deposits(
        made.event[soft], made.label[soft], made.place[soft], made.energy[soft], np.full(soft.sum(), STEP_CM)
    )
    going = onward.take(~pair)
    return made.take(~soft & _stays(made)), going.take(_stays(going)), absorbed


def _stays(flying: Flying) -> np.ndarray:
    return (flying.energy >= LEAST_MEV) & (np.abs(flying.place).max(axis=1, initial=0.0) < LOST_CM)
