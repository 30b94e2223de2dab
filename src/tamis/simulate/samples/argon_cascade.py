"""Electrons and photons in liquid argon: ionisation, scattering, bremsstrahlung, pair production, Compton scattering.

All electrons of many events are stepped together. Cross-sections have a realistic size and energy dependence only.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from tamis.simulate.samples.argon_space import Deposits, isotropic, scattered

X0_CM = 14.0
SHOWER_STEP_CM = 0.4
LOSS_MEV_PER_CM = 2.1
SOFTEST_PHOTON_MEV = 1.0
ABSORPTION_MEV = 0.5  # electrons and photons with less energy are absorbed
PAIR_CM = 20.0
ESCAPE_CM = 100.0  # from the centre: particles beyond are dropped
STEPS_MAX = 2000


@dataclass(frozen=True)
class ShowerParticles:
    """Electrons or photons, each with its event and the class label of its deposits."""

    event: np.ndarray
    label: np.ndarray
    place: np.ndarray  # (n, 3) in cm
    heading: np.ndarray  # (n, 3), unit vectors
    energy: np.ndarray  # kinetic, in MeV

    def __len__(self) -> int:
        """Return the number of particles."""
        return len(self.event)

    def take(self, rows: np.ndarray) -> ShowerParticles:
        """Return the particles selected by a mask or by indices."""
        return ShowerParticles(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    @classmethod
    def concatenate(cls, *parts: ShowerParticles) -> ShowerParticles:
        """Concatenate sets of particles."""
        return cls(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(cls)})


def cascade(
    electrons: ShowerParticles, photons: ShowerParticles, photon_label: int, rng: np.random.Generator
) -> list[Deposits]:
    """Track all particles until they stop or escape; deposits from photons get the label `photon_label`."""
    deposits: list[Deposits] = []
    for _ in range(STEPS_MAX):
        if len(photons):
            new, photons, absorbed = _convert(photons, photon_label, rng)
            electrons = ShowerParticles.concatenate(electrons, new)
            deposits.append(absorbed)
        if not len(electrons):
            if not len(photons):
                break
            continue
        electrons, radiated, ionisation = _step(electrons, rng)
        deposits.append(ionisation)
        photons = ShowerParticles.concatenate(photons, radiated)
    return deposits


def _step(
    electrons: ShowerParticles, rng: np.random.Generator
) -> tuple[ShowerParticles, ShowerParticles, Deposits]:
    """Return electrons after a step, the photons that they radiated, and their ionisation."""
    n, energy = len(electrons), electrons.energy
    lost = LOSS_MEV_PER_CM * SHOWER_STEP_CM * (1.0 + 0.15 * rng.standard_normal(n) + rng.exponential(0.08, n))
    lost = np.minimum(np.maximum(lost, 0.1), energy)
    place = electrons.place + 0.5 * SHOWER_STEP_CM * electrons.heading
    ionisation = Deposits(electrons.event, electrons.label, place, lost, np.full(n, SHOWER_STEP_CM))
    momentum = np.sqrt(energy * (energy + 1.022))
    angle = np.minimum(13.6 / momentum * np.sqrt(SHOWER_STEP_CM / X0_CM), 0.8)
    heading = scattered(electrons.heading, angle, rng)
    after = energy - lost
    softest = SOFTEST_PHOTON_MEV
    spectrum = np.maximum(np.log(np.maximum(after, softest) / softest), 0.0)
    emits = rng.random(n) < SHOWER_STEP_CM / X0_CM * 4.0 / 3.0 * spectrum
    share = np.exp(-rng.random(n) * spectrum)  # fraction of the energy, uniform in its logarithm
    emits &= rng.random(n) < 1.0 - share + 0.75 * share**2
    radiated = ShowerParticles(
        electrons.event, electrons.label, electrons.place, heading, share * after
    ).take(emits)
    after = np.where(emits, after * (1.0 - share), after)
    moved = ShowerParticles(
        electrons.event, electrons.label, electrons.place + SHOWER_STEP_CM * electrons.heading, heading, after
    )
    return moved.take(_stays(moved)), radiated, ionisation


def _convert(
    photons: ShowerParticles, label: int, rng: np.random.Generator
) -> tuple[ShowerParticles, ShowerParticles, Deposits]:
    """Let photons interact; return the electrons, the scattered photons, and the absorbed energy."""
    n, energy = len(photons), photons.energy
    mean_cm = np.where(
        energy < 5.0, 12.0 * np.maximum(energy, ABSORPTION_MEV) ** 0.45, PAIR_CM + 30.0 / energy
    )
    place = photons.place + rng.exponential(mean_cm)[:, None] * photons.heading
    pair = rng.random(n) < energy / (energy + 12.0)
    share = rng.random(n)
    labels = np.full(n, label)
    spread = np.minimum(3.0 / energy, 0.6)
    first = ShowerParticles(
        photons.event, labels, place, scattered(photons.heading, spread, rng), share * energy
    )
    second = ShowerParticles(
        photons.event, labels, place, scattered(photons.heading, spread, rng), (1.0 - share) * energy
    )
    onward = ShowerParticles(photons.event, labels, place, isotropic(n, rng), (1.0 - share) * energy)
    new = ShowerParticles.concatenate(first, second.take(pair))
    soft = new.energy < ABSORPTION_MEV
    absorbed = Deposits(
        new.event[soft],
        new.label[soft],
        new.place[soft],
        new.energy[soft],
        np.full(soft.sum(), SHOWER_STEP_CM),
    )
    going = onward.take(~pair)
    return new.take(~soft & _stays(new)), going.take(_stays(going)), absorbed


def _stays(particles: ShowerParticles) -> np.ndarray:
    return (particles.energy >= ABSORPTION_MEV) & (
        np.abs(particles.place).max(axis=1, initial=0.0) < ESCAPE_CM
    )
