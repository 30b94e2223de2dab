"""Space points and seeds of strip pairs: on every device against slow references, and from files to tracks without any pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.tracking import reference

pytest.importorskip("numba.cuda", reason="numba-cuda is not installed")

from tamis._base import DataError, UsageError
from tamis.events import open_writer
from tamis.events.detector import TrackingDetector, pair_layers, sort_cells
from tamis.events.detector.identifiers import pack_identifier, unpack_identifier
from tamis.events.detector.modules import Modules
from tamis.simulate.seeds import Seeds
from tamis.simulate.silicon import Primaries, TrackSample, share_charge, simulate_tracks, transport
from tamis.simulate.silicon.transport import DetectorModel
from tamis.tracking import Reconstruction
from tamis.tracking.cpu import CpuStages
from tamis.tracking.cuda.device import to_device, to_host
from tamis.tracking.cuda.stages import CudaStages
from tamis.tracking.finding import FindingSettings
from tamis.tracking.kernels.space_points import BEYOND_MM
from tamis.tracking.matching import GEV_PER_TESLA_MM, Matches, match_tracks
from tamis.tracking.reading import TrueParticles, cell_columns, read_cell_events
from tamis.tracking.seeding import (
    SeedFinder,
    largest_bends,
    largest_curvature,
    layer_numbers,
    seeding_for,
    seeding_layers,
)

CLASSES = {"cpu": CpuStages, "cuda": CudaStages}


@pytest.fixture(scope="module")
def strip_muons(strip_files):
    """Eight events of ten muons in the strips."""
    sample = TrackSample("muon", pt=(1.0, 20.0), eta_max=1.5)
    return list(simulate_tracks(sample, 8, seed=4, detector=strip_files))


@pytest.fixture(scope="module")
def strip_events(strip_muons, strips, tmp_path_factory):
    path = tmp_path_factory.mktemp("events") / "muons.root"
    with open_writer(path) as writer:
        for batch in strip_muons:
            writer.write(batch)
    return list(read_cell_events(path, strips.modules))


class OnStrips:
    """The stages of a device on the detector of strips, with arrays of the host going in and coming out."""

    def __init__(self, name, detector, seeds_from):
        settings = seeding_for(detector, seeds_from)
        layers = seeding_layers(detector, seeds_from)
        self.stages = CLASSES[name](detector, layers, settings, FindingSettings())
        self.moves = name != "cpu"

    def __call__(self, stage, *inputs):
        if self.moves:
            inputs = [to_device(one) for one in inputs]
        result = getattr(self.stages, stage)(*inputs)
        return to_host(result) if self.moves else result


@pytest.fixture(scope="module", params=CLASSES)
def on(request, strips):
    return OnStrips(request.param, strips, "strips")


@pytest.fixture(scope="module")
def crowd(strips, strip_files):
    """Six soft pions, and as many strips again on the same modules, which cross where no particle was."""
    (batch,) = simulate_tracks(
        TrackSample("pion", particles=6, pt=(0.6, 3.0), eta_max=1.6), 1, seed=9, detector=strip_files
    )
    module, u, v, charge = (np.asarray(column) for column in cell_columns(batch, 0).values())
    random = np.random.default_rng(2)
    extra = random.choice(len(module), len(module))  # further cells on the same modules
    u_of = random.integers(0, 1200, len(extra))
    return sort_cells(
        np.append(module, module[extra]), np.append(u, u_of), np.append(v, v[extra]), np.append(charge, charge[extra]), strips.modules
    )  # fmt: skip


@pytest.fixture(scope="module")
def crossings(strips, crowd):
    """The clusters of the crowd and the points that they should make."""
    clusters = OnStrips("cpu", strips, "strips")("clusters", reference.arrays(crowd))
    curvature = largest_curvature(seeding_for(strips), strips.field)
    return clusters, reference.strip_points(clusters, strips, curvature, BEYOND_MM)


def test_space_points_are_where_strips_of_a_pair_cross(on, strips, crossings):
    clusters, expected = crossings
    points = on("space_points", clusters)
    assert len(points) == len(expected) > 50
    assert list(zip(points.cluster.tolist(), points.second.tolist(), strict=True)) == [
        one[:2] for one in expected
    ]
    layer_of = layer_numbers(strips, pair_layers(strips))
    np.testing.assert_array_equal(points.layer, layer_of[clusters.module[points.cluster]])
    place, variance, bend = (np.array([one[k] for one in expected]) for k in (2, 3, 4))
    np.testing.assert_allclose(np.stack([points.x, points.y, points.z], axis=1), place, atol=1e-3)
    for found, wanted in ((points.variance_r, variance[:, 0]), (points.variance_z, variance[:, 1])):
        np.testing.assert_allclose(found, wanted, rtol=0.02, atol=1e-3)
    np.testing.assert_allclose(bends_of(points), bend, rtol=0.03, atol=0.01 * np.abs(bend).max())
    assert (
        np.abs(bend[:, :2]).max() > 1e4 < np.abs(bend[:, 2]).max()
    )  # millimetres at 1 GeV, in barrel and disks


def bends_of(points):
    """Return how far points are displaced per curvature, (n, 3)."""
    return np.stack([points.bend_x, points.bend_y, points.bend_z], axis=1)


def outwards(vectors, points):
    """Return the part of vectors along the radius of points."""
    return (vectors[:, 0] * points.x + vectors[:, 1] * points.y) / np.hypot(points.x, points.y)


def test_seeds_of_strips_are_the_triplets_of_all_pairs(on, strips, crowd):
    points = on("space_points", on("clusters", reference.arrays(crowd)))
    layers = pair_layers(strips)
    finder = SeedFinder(layers, strips.field, seeding_for(strips), largest_bends(strips, layers))
    arrays = {name: getattr(points, name) for name in ("x", "y", "z", "variance_r", "variance_z", "layer")}
    arrays["bend"] = points.bend_z - points.z / np.hypot(points.x, points.y) * outwards(
        bends_of(points), points
    )
    for layer in range(len(layers)):  # what the search of a layer reckons with
        own = points.layer == layer
        assert np.abs(arrays["bend"][own]).max(initial=0) <= finder.links.bend[layer]
    links = [
        {layer: table[layer, :count] for layer, count in enumerate(counts)}
        for counts, table in (
            (finder.links.outer_count, finder.links.outer),
            (finder.links.inner_count, finder.links.inner),
        )
    ]
    expected = reference.triplets(arrays, range(len(points)), finder.cuts, links)
    seeds = on("seeding", points)
    found: dict[int, set[tuple[int, int]]] = {}
    for inner, middle, outer in seeds.points.tolist():
        found.setdefault(middle, set()).add((inner, outer))
    total, wrong = 0, 0
    for middle, triplets in expected.items():
        best = sorted(triplets.items(), key=lambda one: -one[1])[: finder.cuts.most]
        total += len(best)
        wrong += len(found.get(middle, set()) ^ {pair for pair, _ in best})
    assert total > 50
    assert wrong <= 0.01 * total  # float32 decides otherwise at the edge of a cut


def test_a_seed_of_strips_begins_with_both_clusters_where_its_circle_crosses_them(on, strips, crowd):
    clusters = on("clusters", reference.arrays(crowd))
    points = on("space_points", clusters)
    seeds = on("seeding", points)
    starts = on("parameters", seeds, points, clusters)
    np.testing.assert_array_equal(starts.clusters, points.cluster[seeds.points])
    np.testing.assert_array_equal(starts.second, points.second[seeds.points[:, 0]])
    place = np.stack([points.x, points.y, points.z], axis=1).astype(np.float64)
    bend = bends_of(points)
    along = np.stack([outwards(bend, points), points.bend_z], axis=1)
    variance = np.stack([points.variance_r, points.variance_z], axis=1)
    for rows, state, spread in zip(seeds.points, starts.states, starts.spread, strict=True):
        w = reference.circle_state(place[rows])[6]
        three = place[rows] + w * bend[rows]
        expected = reference.circle_state(three)
        np.testing.assert_allclose(state, expected, rtol=1e-3, atol=1e-5)
        of_curvature = 0.01 * w * w + 3e-9
        first = variance[rows[0]] + of_curvature * along[rows[0]] ** 2
        np.testing.assert_allclose(spread[:2], first, rtol=1e-3)
        change = variance[rows[0]] + variance[rows[2]] + of_curvature * (along[rows[2]] - along[rows[0]]) ** 2
        length = ((three[2] - three[0])[:2] ** 2).sum()
        assert spread[2] == pytest.approx((change[1] + expected[5] ** 2 * change[0]) / length, rel=1e-2)


@pytest.fixture(scope="module")
def matched(strips, strip_events):
    reconstruct = Reconstruction(strips)
    objects = [reconstruct.stages(event.cells) for event in strip_events]
    matches = []
    for one, event in zip(objects, strip_events, strict=True):
        particle = event.truth.of_cell[one.tracks.first_cell]
        matches.append(match_tracks(one.tracks, particle, event.truth, strips.field, pt_min=1.0, eta_max=1.5))
    return objects, Matches.joined(matches)


def test_muons_in_strips_are_found_with_their_parameters(matched):
    _, matches = matched
    assert len(matches.found) > 70
    assert (matches.found > 0).mean() > 0.98
    assert matches.fake.sum() == 0
    assert matches.duplicate.sum() == 0
    width = np.sqrt((matches.pull**2).mean(axis=0))
    assert ((width > 0.7) & (width < 1.4)).all(), width
    assert (np.abs(np.median(matches.pull, axis=0)) < 0.5).all()


def test_both_strips_of_points_are_on_the_tracks(matched):
    """Each track has the clusters of its seed and hits of both sides of its modules."""
    objects, _ = matched
    paired = []
    for one in objects:
        crossed = set(zip(one.points.cluster.tolist(), one.points.second.tolist(), strict=True))
        for hits, k in zip(
            np.split(one.tracks.hits, np.cumsum(one.tracks.counts)[:-1]), one.chosen, strict=True
        ):
            seed = one.seeds.points[one.found.seed[k]]
            assert {int(one.points.cluster[seed[0]]), int(one.points.second[seed[0]])} <= set(hits.tolist())
            both = [pair for pair in crossed if set(pair) <= set(hits.tolist())]
            paired.append(2 * len(both) / len(hits))
    assert len(paired) > 70
    assert min(paired) > 0.5
    assert np.mean(paired) > 0.85


def test_space_points_are_on_the_trajectories_within_what_the_angle_allows(
    strips, strip_events, strip_muons, matched
):
    """Of two strips of one particle: the point, moved as the curvature of the particle says, is between its hits."""
    pulls, unmoved, aside = [], [], []
    rows = [(batch, k) for batch in strip_muons for k in range(len(batch))]
    for one, event, (batch, k) in zip(matched[0], strip_events, rows, strict=True):
        row = {
            name: np.asarray(batch[name][k])
            for name in ("Cell_hit", "Hit_particle", "Hit_x", "Hit_y", "Hit_z")
        }
        points, truth = one.points, event.truth
        hit = row["Cell_hit"][event.cells.source][one.clusters.first]
        a, b = hit[points.cluster], hit[points.second]
        particle = row["Hit_particle"]
        own = np.flatnonzero(particle[a] == particle[b])
        place = np.stack([row[f"Hit_{axis}"] for axis in "xyz"], axis=1).astype(np.float64)
        true = (place[a] + place[b])[own] / 2
        pt = np.hypot(*truth.momentum[particle[a[own]], :2].T)
        curvature = -truth.charge[particle[a[own]]] * GEV_PER_TESLA_MM * strips.field / pt
        at = np.stack([points.x, points.y, points.z], axis=1)[own].astype(np.float64)
        barrel = points.variance_z[own] > points.variance_r[own]
        error = np.sqrt(np.where(barrel, points.variance_z[own], points.variance_r[own]))
        for found, w in ((unmoved, 0), (pulls, curvature)):
            moved = at + np.reshape(w, (-1, 1)) * bends_of(points)[own]
            along = np.where(
                barrel, true[:, 2] - moved[:, 2], np.hypot(*true[:, :2].T) - np.hypot(*moved[:, :2].T)
            )
            found.extend((along / error).tolist())
        aside += ((moved[:, 0] * true[:, 1] - moved[:, 1] * true[:, 0]) / np.hypot(*moved[:, :2].T)).tolist()
    assert len(pulls) > 500
    assert np.sqrt(np.mean(np.square(pulls))) < 1.2
    assert np.abs(pulls).max() < 6
    assert np.sqrt(np.mean(np.square(unmoved))) > 2
    assert np.abs(aside).max() < 0.3  # mm: across the strips, the angle magnifies nothing


@pytest.fixture(scope="module")
def mixed(detector, strips):
    """The pixels of the generic detector, and strips around them."""
    pixels = detector.modules.take(np.flatnonzero(np.isin(detector.modules.volume, (7, 8, 9))))
    both = {
        name: np.concatenate([getattr(pixels, name), getattr(strips.modules, name)]) for name in vars(pixels)
    }
    modules = Modules(**both)
    return TrackingDetector("mixed", modules.take(np.argsort(modules.identifier)))


def test_seeds_are_from_what_is_asked_for_and_what_there_is(detector, strips, mixed):
    assert [seeding_for(one).seeds_from for one in (detector, strips, mixed)] == [
        "pixels",
        "strips",
        "pixels",
    ]
    layers = {name: seeding_layers(mixed, name) for name in ("pixels", "strips", "all")}
    keys = {name: [(layer.volume, layer.number) for layer in found] for name, found in layers.items()}
    assert keys["all"] == keys["pixels"] + keys["strips"]
    assert len(layers["strips"]) == len(pair_layers(strips)) == 18
    middle = mixed.modules.cells // 2
    cells = sort_cells(mixed.modules.identifier, *middle.T, np.ones(len(mixed.modules)), mixed.modules)
    counts = {}
    for name in layers:
        reconstruct = Reconstruction(mixed, seeding=seeding_for(mixed, name))
        points = reconstruct.space_points(reconstruct.clusters(cells))
        counts[name] = int((points.second < 0).sum()), int((points.second >= 0).sum())
    pixels, pairs = counts["pixels"][0], counts["strips"][1]
    assert counts == {"pixels": (pixels, 0), "strips": (0, pairs), "all": (pixels, pairs)}
    assert pixels > 1000 < pairs


def test_both_modules_of_a_pair_on_layers_of_ones_own_make_one_point(strips, strip_events):
    own = Reconstruction(strips, layers=strips.layers)
    expected = Reconstruction(strips)
    cells = strip_events[0].cells
    found, wanted = (one.space_points(one.clusters(cells)) for one in (own, expected))
    for name in ("cluster", "second"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
    assert (found.second >= 0).all()


def test_a_detector_without_what_is_asked_for_is_rejected_with_what_it_has(detector, strips):
    for one, name, words in (
        (
            strips,
            "pixels",
            "no layer to seed on: it has no pixels .* it has 7890 pairs of strip modules: seed from those",
        ),
        (
            detector,
            "strips",
            "no layer to seed on: it has no pairs of strip modules .* it has pixels: seed from those",
        ),
    ):
        with pytest.raises(DataError, match=words):
            Reconstruction(one, seeding=seeding_for(one, name))
    single = strips.modules.take(strips.strip_pairs.first)
    with pytest.raises(DataError, match=r"it has no pixels .* nor pairs of strip modules"):
        Reconstruction(TrackingDetector("single", single))
    with pytest.raises(UsageError, match="not from 'strip'; did you mean 'strips'"):
        seeding_for(strips, "strip")


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["along u", "two layers", "wide and alternating", "axial", "10 mrad"])
def test_other_ways_to_build_a_pair_are_reconstructed_as_well(strips, variant):
    modules, pairs = strips.modules, strips.strip_pairs
    side = np.zeros(len(modules))
    side[pairs.first], side[pairs.second] = -1, 1
    u, v, normal = modules.axes.transpose(1, 0, 2)
    across = np.sign((np.cross(u[pairs.first], u[pairs.second]) * normal[pairs.first]).sum(axis=1))
    turn = np.zeros(len(modules))
    turn[pairs.first], turn[pairs.second] = -across, across
    angle, changes = np.zeros(len(modules)), {}
    if variant == "along u":
        changes = {name: getattr(modules, name)[:, ::-1] for name in ("first", "pitch", "cells")}
        changes |= {"half_v": modules.half_u[:, 0], "half_u": np.stack([modules.half_v] * 2, axis=1)}
        angle += np.pi / 2
    elif variant == "two layers":
        layer = (2 * modules.layer + np.where(side > 0, 2, 0)).astype(np.int32)
        number = unpack_identifier(modules.identifier)[2]
        changes = {"layer": layer, "identifier": pack_identifier(modules.volume, layer, number)}
    elif variant == "wide and alternating":
        angle = np.where(modules.layer % 4 == 0, -0.04 * turn, 0)
        changes = {"centre": modules.centre + 1.5 * np.sign(side)[:, None] * normal * outward(modules)}
    elif variant == "axial":
        angle += 0.02
    else:
        angle = -0.015 * turn
    cosine, sine = np.cos(angle)[:, None], np.sin(angle)[:, None]
    axes = np.stack([cosine * u + sine * v, cosine * v - sine * u, normal], axis=1)
    built = replace(modules, axes=axes, **changes)
    detector = TrackingDetector(variant, built.take(np.argsort(built.identifier)))
    assert len(detector.strip_pairs) == len(pairs)
    random, model = np.random.default_rng(3), DetectorModel(detector)
    reconstruct, matches = Reconstruction(detector), []
    for k in range(6):
        muons = gun(random, 20)
        hits = transport(muons, model, Seeds(7, 0, k))
        cells = share_charge(hits, detector.modules, Seeds(7, 0, k))
        event = sort_cells(
            detector.modules.identifier[cells.module], cells.u, cells.v, cells.charge, detector.modules
        )
        of_cell = hits.particle[cells.hit][event.source]
        truth = TrueParticles(muons.pdg_id, muons.charge, muons.vertex, muons.momentum, of_cell)
        tracks = reconstruct(event)
        matches.append(match_tracks(tracks, of_cell[tracks.first_cell], truth, detector.field, eta_max=1.5))
    joined = Matches.joined(matches)
    assert len(joined.found) > 110
    assert (joined.found > 0).mean() > 0.98
    assert joined.fake.mean() < 0.02
    assert (np.quantile(np.abs(joined.pull), 0.68, axis=0) < 1.4).all()


def outward(modules):
    """Return the sign of the normals relative to the direction from the beam spot, (modules, 1)."""
    return np.sign((modules.axes[:, 2] * modules.centre).sum(axis=1))[:, None]


def gun(random, count):
    """Return muons between 1 and 20 GeV."""
    phi, eta, charge = (
        random.uniform(-np.pi, np.pi, count),
        random.uniform(-1.5, 1.5, count),
        random.choice([-1, 1], count),
    )
    momentum = np.exp(random.uniform(0, np.log(20), count))[:, None] * np.stack(
        [np.cos(phi), np.sin(phi), np.sinh(eta)], axis=1
    )
    return Primaries(-13 * charge, charge, random.normal(0, [0.01, 0.01, 50], (count, 3)), momentum)
