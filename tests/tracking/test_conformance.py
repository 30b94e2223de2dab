"""One suite for the stages on every device: each against a slow reference in NumPy. Without a GPU the CUDA kernels run in Numba's simulator."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import awkward as ak
import numpy as np
import pytest
from tests.tracking import reference

pytest.importorskip("numba.cuda", reason="numba-cuda is not installed")

from tamis._base import UsageError
from tamis.events import Events, open_writer
from tamis.events.detector import sort_cells
from tamis.simulate.silicon import TrackSample, simulate_tracks
from tamis.tracking import Reconstruction, track_file
from tamis.tracking.cpu import CpuStages
from tamis.tracking.cuda.device import to_device, to_host
from tamis.tracking.cuda.scan import exclusive_sums, total_of
from tamis.tracking.cuda.stages import CudaStages
from tamis.tracking.cuda.streams import download, timed_copies, upload
from tamis.tracking.devices import chosen_devices, parse_devices
from tamis.tracking.finding import STEPS_MOST, FindingSettings
from tamis.tracking.kernels.types import TrackArrays
from tamis.tracking.reading import cell_columns
from tamis.tracking.seeding import SeedFinder, SeedingSettings, seeding_layers
from tamis.tracking.steps import STAGES, SortedHits, TrackCandidates

SPILLED = {
    "follow_each": 1536
}  # bytes stored and loaded: following a track, also in a mapped field, takes all 255 registers
CLASSES = {"cpu": CpuStages, "cuda": CudaStages}


class OnDevice:
    """The stages of a device, with arrays of the host going in and coming out."""

    def __init__(self, name, detector):
        self.stages = CLASSES[name](detector, seeding_layers(detector), SeedingSettings(), FindingSettings())
        self.moves = name != "cpu"

    def __call__(self, stage, *inputs):
        if self.moves:
            inputs = [to_device(one) for one in inputs]
        result = getattr(self.stages, stage)(*inputs)
        return to_host(result) if self.moves else result


@pytest.fixture(scope="module", params=CLASSES)
def on(request, detector):
    return OnDevice(request.param, detector)


def event_of(detector, particle="muon", particles=10, pt=(1.0, 20.0), seed=5):
    (batch,) = simulate_tracks(TrackSample(particle, particles=particles, pt=pt), 1, seed=seed)
    return sort_cells(*cell_columns(batch, 0).values(), detector.modules)


@pytest.fixture(scope="module")
def muon_cells(detector):
    return event_of(detector)


@pytest.fixture(scope="module")
def soft_pions(detector):
    """Fifty soft pions in one event: their triplets mix, and their tracks share hits."""
    return event_of(detector, "pion", 50, (0.5, 3.0), seed=2)


@pytest.mark.parametrize(("count", "modules", "span"), [(0, 1, 5), (1, 1, 5), (400, 7, 12), (300, 200, 3)])
def test_clusters_are_the_cells_that_touch(on, detector, count, modules, span):
    cells = reference.random_cells(detector, count, modules, span, seed=count)
    clusters = on("clusters", reference.arrays(cells))
    groups = reference.touching_cells(cells)
    assert clusters.first.tolist() == sorted(group[0] for group in groups)
    sizes = {group[0]: len(group) for group in groups}
    assert clusters.size.tolist() == [sizes[first] for first in clusters.first.tolist()]
    for k, group in enumerate(sorted(groups)):
        module, charge = cells.module[group[0]], cells.charge[group].astype(np.float64)
        weight = charge / charge.sum()
        pixels = np.stack([cells.u[group], cells.v[group]], axis=1) + 0.5
        local = detector.modules.first[module] + (weight @ pixels) * detector.modules.pitch[module]
        np.testing.assert_allclose(clusters.local[k], local, atol=2e-5)
        space = detector.modules.centre[module] + local @ detector.modules.axes[module][:2]
        np.testing.assert_allclose(clusters.position[k], space, atol=1e-4)


def test_space_points_are_the_clusters_on_seeding_layers(on, detector, muon_cells):
    clusters = on("clusters", reference.arrays(muon_cells))
    points = on("space_points", clusters)
    of_module = {row: n for n, layer in enumerate(seeding_layers(detector)) for row in layer.rows}
    wanted = [k for k, module in enumerate(clusters.module.tolist()) if module in of_module]
    assert points.cluster.tolist() == wanted
    assert points.layer.tolist() == [of_module[clusters.module[k]] for k in wanted]
    position = clusters.position[wanted]
    for axis, name in enumerate("xyz"):
        np.testing.assert_allclose(getattr(points, name), position[:, axis], rtol=1e-6, atol=1e-5)
    axes = detector.modules.axes[clusters.module[wanted]]
    radial = position[:, :2] / np.hypot(*position[:, :2].T)[:, None]
    along_r = np.einsum("nia,na->ni", axes[:, :2, :2], radial)
    variance = clusters.variance[wanted] + 1e-4
    np.testing.assert_allclose(points.variance_r, (along_r**2 * variance).sum(axis=1), rtol=1e-4, atol=1e-9)
    np.testing.assert_allclose(
        points.variance_z, (axes[:, :2, 2] ** 2 * variance).sum(axis=1), rtol=1e-4, atol=1e-9
    )


def test_seeds_are_the_triplets_of_all_pairs(on, detector, soft_pions):
    points = on("space_points", on("clusters", reference.arrays(soft_pions)))
    finder = SeedFinder(seeding_layers(detector), detector.field)
    arrays = {name: getattr(points, name) for name in ("x", "y", "z", "variance_r", "variance_z", "layer")}
    links = [
        {layer: table[layer, :count] for layer, count in enumerate(counts)}
        for counts, table in (
            (finder.links.outer_count, finder.links.outer),
            (finder.links.inner_count, finder.links.inner),
        )
    ]
    radius = np.hypot(points.x, points.y)
    low, high = finder.settings.middle_radius
    middles = np.flatnonzero((radius > low) & (radius < high))
    expected = reference.triplets(arrays, middles, finder.cuts, links)
    seeds = on("seeding", points)
    found: dict[int, set[tuple[int, int]]] = {}
    for inner, middle, outer in seeds.points.tolist():
        found.setdefault(middle, set()).add((inner, outer))
    total, wrong = 0, 0
    for middle, triplets in expected.items():
        best = sorted(triplets.items(), key=lambda one: -one[1])[: finder.cuts.most]
        total += len(best)
        wrong += len(found.get(middle, set()) ^ {pair for pair, _ in best})
    assert total > 100
    assert wrong <= 0.01 * total  # float32 decides otherwise at the edge of a cut
    assert len(seeds.weight) <= total + wrong


def test_parameters_are_those_of_the_circle_through_three_points(on, soft_pions):
    clusters = on("clusters", reference.arrays(soft_pions))
    points = on("space_points", clusters)
    seeds = on("seeding", points)
    starts = on("parameters", seeds, points, clusters)
    np.testing.assert_array_equal(starts.clusters, points.cluster[seeds.points])
    for rows, state in zip(starts.clusters, starts.states, strict=True):
        expected = reference.circle_state(clusters.position[rows])
        np.testing.assert_allclose(state[:3], expected[:3], rtol=1e-12)
        np.testing.assert_allclose(state[3:5], expected[3:5], atol=1e-6)
        assert state[5] == pytest.approx(expected[5], rel=2e-4, abs=1e-6)
        assert state[6] == pytest.approx(expected[6], rel=1e-5, abs=1e-10)


def test_of_tracks_that_share_hits_the_worst_go(on):
    random = np.random.default_rng(3)
    count, hits = 40, 90
    size = random.integers(7, 13, count)
    size[20:30], size[10] = size[:10], 9
    ways = [sorted(random.choice(hits, n, replace=False).tolist()) for n in size]
    ways[20:30] = ways[:10]  # tracks of the same hits
    chi2 = np.repeat(random.uniform(1, 60, count // 2), 2)  # equal ones, too
    way = np.full((count, STEPS_MOST), -3, np.int32)  # a crossed surface between hits
    steps = np.empty(count, np.int32)
    for t, one in enumerate(ways):
        way[t, : 2 * len(one) : 2] = one
        steps[t] = 2 * len(one)
    size = np.array([len(one) for one in ways], np.int32)
    tracks = TrackArrays(
        way, steps, size, np.zeros(count, np.int32), chi2, np.arange(count, dtype=np.int32), np.zeros((count, 7)), np.zeros((count, 6, 6))
    )  # fmt: skip
    order = np.arange(hits, dtype=np.int32)
    chosen = on("ambiguity", TrackCandidates(tracks, SortedHits(order, order, None, None)))
    expected = reference.greedy_choice(ways, chi2, 3)
    assert 1 < len(expected) < count - 1
    assert chosen.rows.tolist() == expected


@pytest.fixture(scope="module")
def both(detector):
    return {device: Reconstruction(detector, devices=dict.fromkeys(STAGES, device)) for device in CLASSES}


@pytest.mark.parametrize("sample", ["muon_cells", "soft_pions"])
def test_tracks_of_all_devices_agree(both, sample, request):
    cells = request.getfixturevalue(sample)
    cpu, cuda = (both[device](cells) for device in CLASSES)
    np.testing.assert_array_equal(cpu.first_cell, cuda.first_cell)

    def by_hits(tracks):
        ends = np.cumsum(tracks.counts)[:-1]
        return {frozenset(one.tolist()): k for k, one in enumerate(np.split(tracks.hits, ends))}

    first, second = by_hits(cpu), by_hits(cuda)
    common = sorted(first.keys() & second.keys(), key=sorted)
    # The CPU passes over seeds that lie on a track already, so that the device may choose among more candidates.
    assert len(common) >= 0.95 * max(len(first), len(second)) > 0
    for hits in common:
        sigma = np.sqrt(np.diag(cpu.covariance[first[hits]]))
        difference = cpu.parameters[first[hits]] - cuda.parameters[second[hits]]
        assert (np.abs(difference) < 0.25 * sigma).all()


def test_stages_on_different_devices_hand_on_arrays(detector, muon_cells, both):
    mixed = Reconstruction(detector, devices={"seeding": "cuda", "ambiguity": "cuda"})
    tracks = mixed(muon_cells)
    expected = both["cpu"](muon_cells)
    np.testing.assert_array_equal(tracks.hits, expected.hits)
    np.testing.assert_allclose(tracks.parameters, expected.parameters, rtol=1e-9)
    copies = [(one.what, one.to) for one in mixed.transfers]
    assert copies == [
        ("space points", "cuda"),
        ("seeds", "cpu"),
        ("candidates", "cuda"),
        ("chosen tracks", "cpu"),
    ]
    assert all(one.bytes > 0 and one.nanoseconds > 0 for one in mixed.transfers)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_few_cells_have_no_tracks_on_the_device(both, detector, count):
    identifier = detector.modules.identifier[:count]
    cells = sort_cells(identifier, np.full(count, 5), np.full(count, 5), np.ones(count), detector.modules)
    assert len(both["cuda"](cells)) == 0


@pytest.mark.parametrize("count", [0, 1, 64, 256, 257, 5000])
def test_exclusive_sums(count):
    values = np.random.default_rng(count).integers(0, 9, count).astype(np.int32)
    sums = exclusive_sums(to_device(values))
    assert to_host(sums).tolist() == [0, *np.cumsum(values).tolist()]
    assert total_of(sums) == values.sum()


def test_the_devices_of_stages_are_given_in_words():
    assert parse_devices("seeding=cuda, finding=cpu")["seeding"] == "cuda"
    assert set(parse_devices("all=cuda,fit=cpu").values()) == {"cpu", "cuda"}
    assert parse_devices("space-points=cuda")["space points"] == "cuda"
    for text, words in (
        ("seeding", "STAGE=DEVICE"),
        ("seedings=cuda", "did you mean"),
        ("fit=tpu", "cpu and cuda"),
    ):
        with pytest.raises(UsageError, match=words):
            parse_devices(text)
    assert set(chosen_devices({}).values()) == {"cpu"}


@pytest.fixture(scope="module")
def few_muons(tmp_path_factory):
    """Four events of three muons; the third one has a charge that is not a number."""
    (batch,) = simulate_tracks(TrackSample("muon", particles=3, pt=(1.0, 20.0)), 4, seed=11)
    charges = [ak.to_numpy(one).copy() for one in batch["Cell_charge"]]
    charges[2][1] = np.nan
    columns = {name: batch[name] for name in batch.array.fields} | {"Cell_charge": ak.Array(charges)}
    path = tmp_path_factory.mktemp("few") / "muons.root"
    with open_writer(path) as writer:
        writer.write(Events.of(columns))
    return path


def test_several_events_at_once_have_the_same_tracks_as_one(detector, few_muons, tmp_path):
    devices = dict.fromkeys(("clusters", "space points", "parameters", "ambiguity"), "cuda")
    records = [
        track_file(
            few_muons, Reconstruction(detector, devices=devices), tmp_path / f"{count}.parquet", at_once=count
        )
        for count in (1, 3)
    ]
    assert [(one.at_once, one.events, len(one.broken)) for one in records] == [(1, 3, 1), (3, 3, 1)]
    one, three = (
        [(each.what, each.to, each.count, each.bytes, each.link_ms) for each in record.transfers]
        for record in records
    )
    assert one == three
    assert all(copy[-1] is None for copy in one)  # the simulator has no link
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "3.parquet").read_bytes()
    assert records[0].tracks == 9


def test_events_at_once_want_a_gpu_and_one_process(detector, few_muons):
    with pytest.raises(UsageError, match="workers instead"):
        track_file(few_muons, Reconstruction(detector), at_once=2)
    with pytest.raises(UsageError, match="1 to 64"):
        track_file(few_muons, Reconstruction(detector), at_once=65)


def test_copies_go_through_pinned_memory_of_their_thread():
    arrays = [np.arange(n, dtype=kind).reshape(-1, 1) for n, kind in ((5, np.int32), (300_000, np.float64))]
    with timed_copies() as link_ns:
        assert all((download(upload(one)) == one).all() for one in arrays)
    assert link_ns() is None  # in the simulator, whose events have no time


@pytest.mark.slow
@pytest.mark.parametrize(("architecture", "field"), [(80, ()), (90, ("--mapped",))])
def test_kernels_compile_for_gpus_that_are_not_here(architecture, field):
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_ENABLE_CUDASIM"}
    command = [
        sys.executable,
        "-m",
        "tamis.tracking.cuda.compile",
        "--architecture",
        str(architecture),
        *field,
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    kernels = [json.loads(line) for line in done.stdout.splitlines()]
    assert {
        "sum_modules",
        "write_points",
        "fill_triplets",
        "start_seeds",
        "follow_each",
        "mark_worst",
        "fit_each",
    } <= {one["kernel"] for one in kernels}
    for one in kernels:
        assert one["registers"] <= 255, one
        assert one["spill_bytes"] <= SPILLED.get(one["kernel"], 0), one
