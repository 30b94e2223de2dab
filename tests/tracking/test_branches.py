"""Branches of a seed: a hit near by that is not of the particle need not lead a track astray."""

from __future__ import annotations

import numpy as np
import pytest

from tamis._base import UsageError
from tamis.events.detector import sort_cells
from tamis.simulate.silicon import TrackSample, simulate_tracks
from tamis.tracking import Reconstruction
from tamis.tracking.finding import BRANCHES_MOST, FindingSettings
from tamis.tracking.reading import cell_columns
from tamis.tracking.steps import STAGES


@pytest.fixture(scope="module")
def muons_and_decoys(detector):
    """Return muons that have each cell outside the pixels twice, the second time some cells beside it, and which cells are theirs."""

    def event(shift, particles=20):
        (batch,) = simulate_tracks(TrackSample("muon", particles=particles, pt=(1.0, 20.0)), 1, seed=5)
        identifier, u, v, charge = cell_columns(batch, 0).values()
        true = sort_cells(identifier, u, v, charge, detector.modules)
        outside = np.hypot(*detector.modules.centre[true.module, :2].T) > 200
        row = np.concatenate([true.module, true.module[outside]])
        u = np.concatenate([true.u, true.u[outside] + shift])
        v, charge = (np.concatenate([one, one[outside]]) for one in (true.v, true.charge))
        inside = u < detector.modules.cells[row, 0]
        cells = sort_cells(
            detector.modules.identifier[row[inside]], u[inside], v[inside], charge[inside], detector.modules
        )
        theirs = set(zip(true.module.tolist(), true.u.tolist(), true.v.tolist(), strict=True))
        return cells, np.array([one in theirs for one in zip(cells.module.tolist(), cells.u.tolist(), cells.v.tolist(), strict=True)])  # fmt: skip

    return event


def found_with(detector, cells, branches, device="cpu"):
    finding = FindingSettings(branches_max=branches)
    return Reconstruction(detector, finding=finding, devices=dict.fromkeys(STAGES, device))(cells)


def test_branches_leave_decoys_out(detector, muons_and_decoys):
    cells, theirs = muons_and_decoys(3)
    one, four = (found_with(detector, cells, branches) for branches in (1, 4))
    decoys = [int((~theirs[found.first_cell[found.hits]]).sum()) for found in (one, four)]
    assert decoys[0] > 25  # so that there is something to leave out
    assert decoys[1] < 0.6 * decoys[0]
    assert len(four) == len(one) == 20
    assert four.chi2.sum() < one.chi2.sum()


def test_branches_find_what_a_decoy_hides(detector, muons_and_decoys):
    cells, _ = muons_and_decoys(5)
    assert len(found_with(detector, cells, 1)) == 19
    assert len(found_with(detector, cells, 2)) == 20


@pytest.mark.slow
def test_branches_on_a_gpu_are_those_of_the_cpu(detector, muons_and_decoys):
    pytest.importorskip("numba.cuda", reason="numba-cuda is not installed")
    cells, _ = muons_and_decoys(3, particles=8)
    cpu, cuda = (found_with(detector, cells, 4, device) for device in ("cpu", "cuda"))

    def by_hits(tracks):
        ways = np.split(tracks.hits, np.cumsum(tracks.counts)[:-1])
        return {tuple(way.tolist()): row for way, row in zip(ways, tracks.parameters, strict=True)}

    expected, found = by_hits(cpu), by_hits(cuda)
    assert len(found) == len(expected) == 8
    common = expected.keys() & found.keys()
    assert len(common) >= 6  # the CPU passes over seeds that lie on a track already
    one = found_with(detector, cells, 1)
    assert len(by_hits(one).keys() & found.keys()) < len(common)
    for way in common:
        np.testing.assert_allclose(found[way], expected[way], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("branches", [0, BRANCHES_MOST + 1])
def test_the_number_of_branches_has_limits(branches):
    with pytest.raises(UsageError, match=f"1 to {BRANCHES_MOST}"):
        FindingSettings(branches_max=branches)
