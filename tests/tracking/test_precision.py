"""Finding and fit in float32: nearly all tracks are those of float64, most parameters agree, and some do not."""

from __future__ import annotations

import numpy as np
import pytest

from tamis._base import UsageError
from tamis.events.detector import sort_cells
from tamis.simulate.silicon import TrackSample, simulate_tracks
from tamis.tracking import Reconstruction
from tamis.tracking.finding import FindingSettings
from tamis.tracking.reading import cell_columns

pytestmark = pytest.mark.slow  # kernels for float32 are compiled


def test_float32_finds_the_same_tracks_and_most_of_their_parameters(detector, reconstruction):
    single = Reconstruction(detector, finding=FindingSettings(precision="float32"))
    same = total = 0
    worst = []
    for batch in simulate_tracks(TrackSample("pion", particles=100, pt=(0.7, 20.0)), 4, seed=8):
        for k in range(len(batch)):
            cells = sort_cells(*cell_columns(batch, k).values(), detector.modules)
            expected, found = reconstruction(cells), single(cells)
            assert found.parameters.dtype == np.float64
            assert not np.array_equal(found.parameters, expected.parameters)
            rows = {hits: row for row, hits in enumerate(ways(expected))}
            total += max(len(expected), len(found))
            for row, hits in enumerate(ways(found)):
                if hits not in rows:
                    continue
                same += 1
                sigma = np.sqrt(np.diag(expected.covariance[rows[hits]]))
                worst.append(np.abs(found.parameters[row] - expected.parameters[rows[hits]]) / sigma)
    assert total > 350
    assert same >= 0.97 * total
    assert np.median(worst) < 0.05
    assert np.quantile(worst, 0.9) < 0.3


def ways(tracks):
    return [tuple(hits.tolist()) for hits in np.split(tracks.hits, np.cumsum(tracks.counts)[:-1])]


def test_other_precisions_and_devices_are_rejected(detector):
    with pytest.raises(UsageError, match="it must be float64 or float32"):
        FindingSettings(precision="float16")
    pytest.importorskip("numba.cuda", reason="numba-cuda is not installed")
    with pytest.raises(UsageError, match="a GPU finds and fits tracks in float64"):
        Reconstruction(detector, finding=FindingSettings(precision="float32"), devices={"fit": "cuda"})
