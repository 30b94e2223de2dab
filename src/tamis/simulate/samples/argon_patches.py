"""Patches of a wire plane in a liquid-argon chamber around hits, labelled by the particle that made the hit.

A window of 75 cm contains passing cosmic muons, one that stops and may decay, showers, and a proton or a pion. The charge
recombines, diffuses, and is read out in cells of one wire by six ticks; noise is added, and some wires are dead.
"""

from __future__ import annotations

import numpy as np

from tamis.simulate.samples.argon_cascade import ShowerParticles, cascade
from tamis.simulate.samples.argon_space import Deposits, concatenate_deposits, isotropic, normalised
from tamis.simulate.samples.argon_tracks import ArgonTracks, follow, range_cm
from tamis.simulate.seeds import Seeds

PATCH_CLASSES = ("track", "em", "michel")
TRACK, EM, MICHEL = range(3)
CELL_CM = 0.47  # wire pitch, and the drift in six ticks of 0.5 us at 1.6 mm/us
WINDOW, PATCH = 160, 48  # cells
PATCHES_PER_EVENT = 10
DIFFUSION_CM = 0.12
NOISE_MEV, HIT_MEV = 0.06, 0.35
DIGITISER_STEP_MEV = 0.01
SHAPING = 0.08  # fraction of the charge that appears one cell earlier, and one cell later
DEAD_WIRES = 0.01
MICHEL_END_MEV = 52.8
DECAY_FRACTION = 0.85  # of stopping muons; the others are captured
SHOWER_MEV = (50.0, 1500.0)
HALF_CM = 0.5 * WINDOW * CELL_CM


def make_patches(n: int, seeds: Seeds) -> dict[str, np.ndarray]:
    """Return patches (n, 1, 48, 48) in MeV, the class of the central hit, and simple variables of each patch."""
    signal, charge = windows(-(-n // PATCHES_PER_EVENT), seeds)
    event, wire, tick, label = _hits(signal, charge, seeds.stream("hits"))
    patches = cropped(signal, event, wire, tick)[:n]
    return {
        "patches": (np.round(patches / DIGITISER_STEP_MEV) * DIGITISER_STEP_MEV)[:, None].astype(np.float32),
        "label": label[:n].astype(np.int64),
        **{name: values.astype(np.float32) for name, values in simple_variables(patches).items()},
    }


def windows(events: int, seeds: Seeds) -> tuple[np.ndarray, np.ndarray]:
    """Return the signal (events, wires, ticks) in MeV, and the charge by class before noise and dead wires."""
    rng = seeds.stream("argon")
    charge = plane(particles(events, rng), events, rng)
    signal: np.ndarray = charge.sum(axis=1)
    signal += NOISE_MEV * seeds.stream("noise").standard_normal(signal.shape)
    signal *= seeds.stream("dead wires").random((events, WINDOW, 1)) > DEAD_WIRES
    return signal, charge


def particles(events: int, rng: np.random.Generator) -> Deposits:
    """Return the deposits of all particles of some events."""
    number = np.arange(events)
    deposits = []
    passing = np.repeat(number, rng.integers(1, 3, events))
    deposits.append(follow(_passing(passing, rng), TRACK, rng)[0])
    heading = _downwards(events, rng)
    end = rng.uniform(-0.7 * HALF_CM, 0.7 * HALF_CM, (events, 3))
    length = np.full(events, 1.6 * HALF_CM)
    begin = end - length[:, None] * heading
    muons = ArgonTracks(number, begin, heading, length, length, np.zeros(events, bool))
    stopping, ends = follow(muons, TRACK, rng)
    short, _ = follow(_short(number, rng), TRACK, rng)
    deposits += [stopping, short]
    decays = rng.random(events) < DECAY_FRACTION
    electrons = ShowerParticles(
        number[decays],
        np.full(decays.sum(), MICHEL),
        ends[decays],
        isotropic(int(decays.sum()), rng),
        michel_energies(int(decays.sum()), rng),
    )
    primary = np.repeat(number, rng.integers(1, 3, events))
    low, high = np.log(SHOWER_MEV)
    energy = np.exp(rng.uniform(low, high, len(primary)))
    place = rng.uniform(-HALF_CM, HALF_CM, (len(primary), 3))
    showers = ShowerParticles(primary, np.full(len(primary), EM), place, isotropic(len(primary), rng), energy)
    photon = rng.random(len(primary)) < 0.5
    electrons = ShowerParticles.concatenate(electrons, showers.take(~photon))
    return concatenate_deposits([*deposits, *cascade(electrons, showers.take(photon), EM, rng)])


def michel_energies(n: int, rng: np.random.Generator) -> np.ndarray:
    """Return kinetic energies in MeV of electrons from muon decays: spectrum x^2 (3 - 2 x), by rejection."""
    x = rng.random((n, 40))
    good = rng.random((n, 40)) < x**2 * (3.0 - 2.0 * x)
    energy: np.ndarray = MICHEL_END_MEV * x[np.arange(n), good.argmax(axis=1)]
    return energy


def _passing(event: np.ndarray, rng: np.random.Generator) -> ArgonTracks:
    n = len(event)
    heading = _downwards(n, rng)
    through = rng.uniform(-HALF_CM, HALF_CM, (n, 3))
    half = 2.0 * HALF_CM
    return ArgonTracks(
        event,
        through - half * heading,
        heading,
        np.full(n, 2 * half),
        rng.uniform(400, 3000, n),
        np.zeros(n, bool),
    )


def _short(event: np.ndarray, rng: np.random.Generator) -> ArgonTracks:
    """Return a stopping proton or pion in each event."""
    n = len(event)
    proton = rng.random(n) < 0.5
    kinetic = rng.uniform(60.0, 350.0, n)
    length = np.where(proton, range_cm(kinetic, proton=True), range_cm(kinetic, proton=False))
    place = rng.uniform(-0.8 * HALF_CM, 0.8 * HALF_CM, (n, 3))
    return ArgonTracks(event, place, isotropic(n, rng), np.minimum(length, 150.0), length, proton)


def _downwards(n: int, rng: np.random.Generator) -> np.ndarray:
    """Return downward directions of cosmic muons; the third axis is vertical."""
    heading = isotropic(n, rng)
    heading[:, 2] = -np.abs(heading[:, 2])
    return normalised(heading)


def plane(deposits: Deposits, events: int, rng: np.random.Generator) -> np.ndarray:
    """Return the charge (events, classes, wires, ticks) in MeV of a signal without recombination."""
    per_cm = deposits.energy / deposits.length
    quenched = (
        deposits.energy / (1.0 + 0.0696 * per_cm) * (1.0 + 0.0696 * 2.1)
    )  # Birks' law, normalised to a minimum-ionising muon
    place = deposits.place[:, :2] + DIFFUSION_CM * rng.standard_normal((len(quenched), 2))
    cell = np.floor((place + HALF_CM) / CELL_CM).astype(np.int64)
    inside = ((cell >= 0) & (cell < WINDOW)).all(axis=1)
    row = (deposits.event[inside] * len(PATCH_CLASSES) + deposits.label[inside]) * WINDOW + cell[inside, 0]
    size = events * len(PATCH_CLASSES) * WINDOW * WINDOW
    flat = np.bincount(row * WINDOW + cell[inside, 1], quenched[inside], minlength=size)
    charge = flat.reshape(events, len(PATCH_CLASSES), WINDOW, WINDOW)
    shaped = (1.0 - 2.0 * SHAPING) * charge
    shaped[..., 1:] += SHAPING * charge[..., :-1]
    shaped[..., :-1] += SHAPING * charge[..., 1:]
    return shaped


def _hits(
    signal: np.ndarray, charge: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return hits of every event, with equal probabilities for the classes that have hits."""
    label = charge.argmax(axis=1)
    most = charge.max(axis=1)
    event, wire, tick = np.nonzero((signal > HIT_MEV) & (most > 0.5 * signal))
    kind = label[event, wire, tick]
    key = event * len(PATCH_CLASSES) + kind
    count = np.bincount(key, minlength=len(signal) * len(PATCH_CLASSES)).reshape(
        len(signal), len(PATCH_CLASSES)
    )
    weight = 1.0 / count.ravel()[key] / (count > 0).sum(axis=1)[event]  # sums to 1 in each event
    chosen = np.searchsorted(
        np.cumsum(weight),
        rng.random(PATCHES_PER_EVENT * len(signal)) + np.repeat(np.arange(len(signal)), PATCHES_PER_EVENT),
    )
    chosen = np.minimum(chosen, len(event) - 1)
    return event[chosen], wire[chosen], tick[chosen], kind[chosen]


def cropped(signal: np.ndarray, event: np.ndarray, wire: np.ndarray, tick: np.ndarray) -> np.ndarray:
    """Return the patches around hits, with zeros outside the window."""
    half = PATCH // 2
    padded = np.pad(signal, ((0, 0), (half, half), (half, half)))
    steps = np.arange(PATCH)
    patches: np.ndarray = padded[
        event[:, None, None], wire[:, None, None] + steps[:, None], tick[:, None, None] + steps
    ]
    return patches


def simple_variables(patches: np.ndarray) -> dict[str, np.ndarray]:
    """Return variables for simple cuts: charges of the hit and of the patch, and the straightness around the hit."""
    half, reach = PATCH // 2, 7
    near = np.maximum(
        patches[:, half - reach : half + reach + 1, half - reach : half + reach + 1] - 0.15, 0.0
    )
    steps = np.arange(-reach, reach + 1, dtype=np.float64)
    total = near.sum(axis=(1, 2)) + 1e-9
    x, y = (near.sum(axis=axis) @ steps / total for axis in (2, 1))
    xx, yy = (near.sum(axis=axis) @ steps**2 / total - mean**2 for axis, mean in ((2, x), (1, y)))
    xy = np.einsum("nij,i,j->n", near, steps, steps) / total - x * y
    root = np.sqrt((xx - yy) ** 2 + 4.0 * xy**2)
    return {
        "hit_charge": patches[:, half - 1 : half + 2, half - 1 : half + 2].sum(axis=(1, 2)),
        "patch_charge": np.maximum(patches, 0.0).sum(axis=(1, 2)),
        "straightness": root / (xx + yy + 1e-9),
    }
