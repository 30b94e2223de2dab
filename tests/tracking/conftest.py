"""Events of a gun in the generic detector, which need no generator."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("numba", reason="numba is not installed")

import numba

from tamis.events.detector import DetectorFiles, generic_detector, strip_detector, write_detector
from tamis.simulate.silicon import TrackSample, simulate_tracks
from tamis.tracking import Reconstruction
from tamis.tracking.opening import compile_kernels


@pytest.fixture(scope="session", autouse=True)
def _compiled():
    """Compile the kernels first, so that tests and the processes that they start run the same code."""
    compile_kernels()


if not Path("/dev/nvidia0").exists():
    numba.config.ENABLE_CUDASIM = 1  # before its CUDA part is imported


@pytest.fixture(scope="session")
def detector():
    return generic_detector()


@pytest.fixture(scope="session")
def reconstruction(detector):
    return Reconstruction(detector)


@pytest.fixture(scope="session")
def muons():
    """Four events of ten muons between 1 and 20 GeV."""
    (batch,) = simulate_tracks(TrackSample("muon", pt=(1.0, 20.0)), 4, seed=5)
    return batch


@pytest.fixture(scope="session")
def muon_file(muons, tmp_path_factory):
    from tamis.events import open_writer

    path = tmp_path_factory.mktemp("muons") / "muons.root"
    with open_writer(path) as writer:
        writer.write(muons)
    return path


@pytest.fixture(scope="session")
def strip_files(tmp_path_factory):
    """The geometry and digitisation of a detector of pairs of strips, as files."""
    folder = tmp_path_factory.mktemp("strips")
    files = DetectorFiles(folder / "detectors.csv", folder / "digitisation.json", 2.0)
    write_detector(strip_detector(), files.geometry, files.digitisation)
    return files


@pytest.fixture(scope="session")
def strips(strip_files):
    return strip_files.open()


@pytest.fixture(scope="session")
def solenoid_file(tmp_path_factory):
    """A map with strong end effects: the winding ends at 0.9 of the detector, where the field has fallen to a half."""
    import numpy as np

    from tamis.events.detector import solenoid_field, write_field_map

    path = tmp_path_factory.mktemp("field") / "solenoid.csv"
    r, z = np.linspace(0, 1050, 43), np.linspace(-3050, 3050, 245)
    write_field_map(path, r, z, solenoid_field(r[:, None], z[None], 1200, 2660, 2.0))
    return path


@pytest.fixture(scope="session")
def mapped_detector(detector, solenoid_file):
    from tamis.events.detector import read_field_map

    compile_kernels(mapped=True)
    return detector.in_field(read_field_map(solenoid_file))
