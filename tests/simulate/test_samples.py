"""Samples of arrays: dependence on the seed, energies and labels."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tamis._base import UsageError
from tamis.simulate import ARRAY_SAMPLES, simulate_sample
from tamis.simulate.samples import argon_patches, ecal, ecal_shower, hcal
from tamis.simulate.samples.argon_cascade import ShowerParticles, cascade
from tamis.simulate.samples.argon_space import Deposits
from tamis.simulate.samples.argon_tracks import ArgonTracks, follow, range_cm
from tamis.simulate.samples.hcal_pulse import CROSSINGS, IN_TIME, TIME_SAMPLES, fractions, template_fit


def first(name, n, seed=1):
    return next(simulate_sample(name, n, seed=seed))


@pytest.mark.parametrize(
    ("name", "rows"), [("hcal-channels", 50), ("wire-patches", 30), ("ecal-clusters", 40)]
)
def test_rows_depend_on_the_seed_and_not_on_their_number(name, rows):
    sample, longer, other_seed = first(name, rows), first(name, 2 * rows), first(name, rows, seed=2)
    for key, values in sample.items():
        assert len(values) == rows
        np.testing.assert_array_equal(values, longer[key][:rows])
        assert np.isfinite(values).all()
    assert any(not np.array_equal(values, other_seed[key]) for key, values in sample.items())


def test_blocks_are_contiguous():
    name = "ecal-clusters"
    rows = ARRAY_SAMPLES[name].block + 5
    lengths = [len(block["energy"]) for block in simulate_sample(name, rows, seed=1)]
    assert lengths == [ARRAY_SAMPLES[name].block, 5]


def test_rows_do_not_depend_on_the_number_of_workers():
    rows = ARRAY_SAMPLES["hcal-channels"].block + 5
    one, two = (list(simulate_sample("hcal-channels", rows, seed=4, workers=workers)) for workers in (1, 2))
    assert [len(block["energy"]) for block in two] == [rows - 5, 5]
    for expected, block in zip(one, two, strict=True):
        for key, values in expected.items():
            np.testing.assert_array_equal(block[key], values)


def test_unknown_and_empty_samples_are_an_error():
    with pytest.raises(UsageError, match="did you mean 'hcal-channels'"):
        simulate_sample("hcal-chanels", 10)
    with pytest.raises(UsageError, match="at least 1"):
        simulate_sample("hcal-channels", 0)
    with pytest.raises(UsageError, match="workers is 0; it must be 1 to"):
        simulate_sample("hcal-channels", 10, workers=0)


def test_the_charge_of_a_pulse_is_in_its_samples():
    shares = fractions(np.zeros(CROSSINGS))
    assert 0.998 < shares[IN_TIME].sum() <= 1.0
    assert shares[IN_TIME, :IN_TIME].sum() == 0.0  # nothing before the pulse
    rng = np.random.default_rng(1)
    n, gev = 4000, 50.0
    ones = np.ones(n)
    channels = hcal.Channels(ones, ones, ones, ones / (hcal.FC_PER_PE * 20.0), 2.0 * ones)
    energy = np.zeros((n, CROSSINGS))
    energy[:, IN_TIME] = gev
    charge = hcal.digitised_charge(channels, energy, rng)
    seen = (charge.sum(axis=1) - TIME_SAMPLES * channels.pedestal) * channels.gain
    assert seen.mean() == pytest.approx(gev, rel=0.01)
    expected = np.hypot(1.04 * np.sqrt(gev / 20.0), hcal.MISCALIBRATION * gev)  # photoelectrons, calibration
    assert seen.std() == pytest.approx(expected, rel=0.1)


def test_the_fit_separates_overlapping_pulses():
    energy = np.array([0.0, 3.0, 8.0, 20.0, 5.0, 0.0, 0.0, 0.0])
    gain, pedestal = 1e-3, 80.0
    charge = energy @ fractions(np.zeros(CROSSINGS)) / gain + pedestal
    inputs = np.concatenate([charge, [pedestal, 50.0, gain, 1, 1, 1, 0]])[None]
    assert template_fit(inputs)[0] == pytest.approx(20.0, rel=0.02)


def test_a_cluster_has_the_energy_of_its_photon_minus_leakage_and_gaps():
    none = np.zeros((1, ecal.CLUSTER_SIZE), bool)
    one, zero = np.ones(1), np.zeros(1)
    whole = ecal_shower.lateral(zero, zero, none, none, one)[0]
    assert 0.97 < whole.sum() < 1.0
    assert whole.argmax() == whole.size // 2
    np.testing.assert_allclose(whole, whole.T, atol=1e-12)
    gap = none.copy()
    gap[0, ecal.CLUSTER_SIZE // 2] = True
    lost = ecal_shower.lateral(zero + 0.515, zero, gap, none, one)[0]
    assert lost.sum() < whole.sum() - 0.05
    arrays = first("ecal-clusters", 400)
    assert np.median(arrays["sum_15x15"] / arrays["energy"]) == pytest.approx(0.98, abs=0.02)
    assert (arrays["images"][:, 0][arrays["images"][:, 1] == 0] == 0).all()  # dead crystals read zero


def test_harder_showers_leak_more():
    rng = np.random.default_rng(1)
    soft, hard = (ecal_shower.contained(np.full(2000, gev), rng)[0].mean() for gev in (10.0, 400.0))
    assert 0.9 < hard < soft < 1.0


def at_the_centre(n, energy, label=1):
    heading = np.tile([1.0, 0.0, 0.0], (n, 1))
    return ShowerParticles(np.arange(n), np.full(n, label), np.zeros((n, 3)), heading, np.full(n, energy))


def summed(parts, n):
    return np.bincount(
        np.concatenate([p.event for p in parts]), np.concatenate([p.energy for p in parts]), minlength=n
    )


def test_a_cascade_deposits_its_initial_energy():
    n, mev = 30, 300.0
    electrons = at_the_centre(n, mev)
    deposited = summed(cascade(electrons, electrons.take(np.zeros(n, bool)), 1, np.random.default_rng(1)), n)
    assert (deposited <= mev + 1e-6).all()
    assert np.median(deposited) > 0.85 * mev  # the rest is in photons below the cut and escaping ones


def test_deposits_of_photons_from_michel_electrons_are_labelled_em():
    n = 50
    electrons = at_the_centre(n, 50.0, argon_patches.MICHEL)
    parts = cascade(electrons, electrons.take(np.zeros(n, bool)), argon_patches.EM, np.random.default_rng(1))
    labels = np.concatenate([p.label for p in parts])
    assert set(labels) == {argon_patches.EM, argon_patches.MICHEL}
    energies = argon_patches.michel_energies(20_000, np.random.default_rng(1))
    assert energies.max() < argon_patches.MICHEL_END_MEV
    assert energies.mean() == pytest.approx(0.7 * argon_patches.MICHEL_END_MEV, rel=0.01)


def test_a_stopping_track_has_a_bragg_peak():
    n, mev = 200, 150.0
    length = np.full(n, range_cm(np.array(mev), proton=True))
    tracks = ArgonTracks(
        np.arange(n), np.zeros((n, 3)), np.tile([0.0, 1.0, 0.0], (n, 1)), length, length, np.ones(n, bool)
    )
    found, ends = follow(tracks, 0, np.random.default_rng(1))
    assert summed([found], n).mean() == pytest.approx(mev, rel=0.05)
    along = found.place[:, 1]
    late, early = along > length[0] - 2.0, along < 2.0
    assert found.energy[late].mean() > 1.8 * found.energy[early].mean()
    assert np.linalg.norm(ends, axis=1).max() <= length[0] + 0.31


def test_a_patch_has_the_class_of_its_central_hit():
    arrays = first("wire-patches", 200)
    middle = arrays["patches"][:, 0, argon_patches.PATCH // 2, argon_patches.PATCH // 2]
    assert (middle > argon_patches.HIT_MEV - 0.01).all()
    counts = np.bincount(arrays["label"], minlength=3)
    assert (counts > 30).all()
    steps = np.arange(-150, 150) * 0.2
    for label, wires in itertools.product(range(3), (-10.0, 10.0)):  # a single line of charge makes all hits
        n = len(steps)
        place = np.column_stack([np.full(n, wires), steps, np.zeros(n)])
        line = Deposits(np.zeros(n, int), np.full(n, label), place, np.full(n, 0.5), np.full(n, 0.2))
        charge = argon_patches.plane(line, 1, np.random.default_rng(1))
        *_, kind = argon_patches._hits(charge.sum(axis=1), charge, np.random.default_rng(1))
        assert set(kind) == {label}
