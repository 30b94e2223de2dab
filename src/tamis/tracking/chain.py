"""The whole reconstruction of an event: cells, clusters, space points, seeds, parameters, tracks, ambiguities, fits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from tamis._base import now_ns
from tamis.events.detector import DetectorLayer, SiliconCells, TrackingDetector
from tamis.tracking.counters import HardwareCounters
from tamis.tracking.cpu import CpuStages
from tamis.tracking.devices import CPU, DeviceValue, Transfer, chosen_devices
from tamis.tracking.finding import FindingSettings
from tamis.tracking.kernels.types import CellArrays, ClusterArrays, TrackArrays
from tamis.tracking.seeding import SeedingSettings, check_layers, seeding_for, seeding_layers
from tamis.tracking.steps import STAGES, FittedTracks, SortedHits, SpacePoints, StageKernels, TrackSeeds

Result = TypeVar("Result")
RESULTS = dict(
    zip(
        STAGES,
        ("clusters", "space points", "seeds", "parameters", "candidates", "chosen tracks", "tracks"),
        strict=True,
    )
)


@dataclass(frozen=True)
class Tracks:
    """Reconstructed tracks of an event."""

    parameters: (
        np.ndarray
    )  # (tracks, 5): d0, z0 in mm, phi, theta, q / p in 1 / GeV, at the point nearest to the beam
    covariance: np.ndarray  # (tracks, 5, 5)
    chi2: np.ndarray
    holes: np.ndarray
    hits: np.ndarray  # clusters of all tracks, one track after the other, each from inside out
    counts: np.ndarray  # of each track
    first_cell: np.ndarray  # of each cluster of the event

    def __len__(self) -> int:
        """Return the number of tracks."""
        return len(self.parameters)

    @property
    def pt(self) -> np.ndarray:
        """Return the transverse momenta in GeV."""
        pt: np.ndarray = np.sin(self.parameters[:, 3]) / np.maximum(np.abs(self.parameters[:, 4]), 1e-12)
        return pt

    @property
    def eta(self) -> np.ndarray:
        """Return the pseudorapidities."""
        eta: np.ndarray = -np.log(np.tan(self.parameters[:, 3] / 2))
        return eta


@dataclass(frozen=True)
class StageObjects:
    """What the stages of one event wrote, each on the device that it ran on; the cells and tracks are on the host."""

    cells: SiliconCells
    clusters: ClusterArrays
    points: SpacePoints
    seeds: TrackSeeds
    states: np.ndarray  # (seeds, 7): position in mm, direction, dz / ds and curvature at the first hit
    found: TrackArrays
    hits: SortedHits
    chosen: np.ndarray  # of the found tracks
    tracks: Tracks


@dataclass
class Reconstruction:
    """Reconstructs events of one detector.

    `nanoseconds` has the time of each stage of the last one, `transfers` its copies between devices, `ticks` its instructions and clocks.
    """

    detector: TrackingDetector
    layers: tuple[DetectorLayer, ...] | None = (
        None  # to seed on; default: those of pixels or of pairs of strips, as the cuts of the seeding say
    )
    seeding: SeedingSettings | None = None  # default: cuts that fit the detector
    finding: FindingSettings = field(default_factory=FindingSettings)
    devices: Mapping[str, str] = field(default_factory=dict)  # of stages that do not run on the CPU
    nanoseconds: dict[str, int] = field(default_factory=dict)
    transfers: list[Transfer] = field(default_factory=list)
    counters: HardwareCounters | None = None
    ticks: dict[str, tuple[int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Prepare detector and kernels."""
        seeding = self.seeding = seeding_for(self.detector) if self.seeding is None else self.seeding
        layers = seeding_layers(self.detector, seeding.seeds_from) if self.layers is None else self.layers
        check_layers(self.detector, layers, seeding)
        self.devices = chosen_devices(self.devices)
        self._cpu: StageKernels = CpuStages(self.detector, layers, seeding, self.finding)
        self._stages: dict[str, StageKernels] = dict.fromkeys(self.devices, self._cpu)
        if self.uses_gpu:
            from tamis.tracking.cuda.stages import CudaStages

            on_device: StageKernels = CudaStages(self.detector, layers, seeding, self.finding)
            self._stages.update({stage: on_device for stage, device in self.devices.items() if device != CPU})

    @property
    def uses_gpu(self) -> bool:
        """Return whether any stage runs on a GPU, or in a simulator of one."""
        return set(self.devices.values()) != {CPU}

    @property
    def is_simulated(self) -> bool:
        """Return whether the GPU is Numba's simulator."""
        if not self.uses_gpu:
            return False
        from tamis.tracking.cuda.device import is_simulated

        return is_simulated()

    def __call__(self, cells: SiliconCells) -> Tracks:
        """Return the tracks of an event."""
        return self.stages(cells).tracks

    def stages(self, cells: SiliconCells, *, on_host: bool = False) -> StageObjects:
        """Return the tracks of an event and what the stages before wrote; the states of found tracks are used up by the fit."""
        self.nanoseconds.clear()
        self.transfers.clear()
        self.ticks.clear()
        event = DeviceValue("cells", _arrays(cells), CPU, self.transfers)
        clusters = self._run("clusters", lambda on, at: on.clusters(event.on(at)))
        points = self._run("space points", lambda on, at: on.space_points(clusters.on(at)))
        seeds = self._run("seeding", lambda on, at: on.seeding(points.on(at)))
        starts = self._run(
            "parameters", lambda on, at: on.parameters(seeds.on(at), points.on(at), clusters.on(at))
        )
        candidates = self._run("finding", lambda on, at: on.finding(starts.on(at), clusters.on(at)))
        chosen = self._run("ambiguity", lambda on, at: on.ambiguity(candidates.on(at)))
        fitted = self._run("fit", lambda on, at: on.fit(chosen.on(at)))
        first = clusters.part("first").on(CPU)

        def written(value: DeviceValue[Result]) -> Result:
            return value.on(CPU) if on_host else value.value

        return StageObjects(
            cells, written(clusters), written(points), written(seeds), written(starts).states, written(candidates).tracks, written(candidates).found,
            written(chosen).rows, _tracks(fitted.on(CPU), first),
        )  # fmt: skip

    def clusters(self, cells: SiliconCells) -> ClusterArrays:
        """Return the clusters of an event."""
        return self._cpu.clusters(_arrays(cells))

    def space_points(self, clusters: ClusterArrays) -> SpacePoints:
        """Return the space points on the layers of the seeding."""
        return self._cpu.space_points(clusters)

    def seeds(self, points: SpacePoints) -> TrackSeeds:
        """Return the seeds of an event."""
        return self._cpu.seeding(points)

    def _run(self, stage: str, work: Callable[[StageKernels, str], Result]) -> DeviceValue[Result]:
        """Run a stage on its device, and measure it without the copies before it."""
        device, copies = self.devices[stage], len(self.transfers)
        before = None if self.counters is None else self.counters.read()
        start = now_ns()
        result = DeviceValue(RESULTS[stage], work(self._stages[stage], device), device, self.transfers)
        result.wait()
        copied = sum(one.nanoseconds for one in self.transfers[copies:])
        self.nanoseconds[stage] = now_ns() - start - copied
        if self.counters is not None and before is not None:
            instructions, clocks = self.counters.read()
            self.ticks[stage] = instructions - before[0], clocks - before[1]
        return result


def _arrays(cells: SiliconCells) -> CellArrays:
    return CellArrays(cells.module, cells.u, cells.v, cells.charge)


def _tracks(fitted: FittedTracks, first_cell: np.ndarray) -> Tracks:
    """Return tracks on the host without those whose fit diverged; the clusters found inside the first one of the seed come first."""
    fits = fitted.fits
    good = np.isfinite(fits.parameters).all(axis=1) & np.isfinite(fits.covariance).all(axis=(1, 2))
    inner, way = fits.inner[good, ::-1], fitted.way[good]
    width = inner.shape[1]
    is_inner = np.arange(width)[None] >= width - fits.inner_count[good, None]
    is_hit = (np.arange(way.shape[1])[None] < fitted.steps[good, None]) & (way >= 0)
    kept = np.concatenate([is_inner, is_hit], axis=1)
    hits: np.ndarray = np.concatenate([inner, way], axis=1)[kept]
    return Tracks(
        fits.parameters[good], fits.covariance[good], fits.chi2[good], fitted.holes[good], hits, kept.sum(axis=1), first_cell
    )  # fmt: skip
