"""What the stages wrote, as columns of a file of tracks."""

from __future__ import annotations

from collections.abc import Sequence

import awkward as ak
import numpy as np

from tamis.events.detector import Modules
from tamis.tracking.chain import StageObjects
from tamis.tracking.kernels.helix import COS, CURVATURE, SIN, SLOPE
from tamis.tracking.seeding import GEV_PER_TESLA_MM

SEED_CLUSTERS = ("Seed_cluster1", "Seed_cluster2", "Seed_cluster3")
# The dtype of every column.
STAGE_COLUMNS: dict[str, type] = {
    "Cluster_module": np.uint64, "Cluster_firstU": np.int32, "Cluster_firstV": np.int32, "Cluster_size": np.int32,
    "Cluster_u": np.float32, "Cluster_v": np.float32, "Cluster_uVariance": np.float32, "Cluster_vVariance": np.float32,
    "Cluster_x": np.float32, "Cluster_y": np.float32, "Cluster_z": np.float32,
    "SpacePoint_cluster": np.int32, "SpacePoint_x": np.float32, "SpacePoint_y": np.float32, "SpacePoint_z": np.float32,
    "SpacePoint_rVariance": np.float32, "SpacePoint_zVariance": np.float32,
    **dict.fromkeys(SEED_CLUSTERS, np.int32),
    "Seed_weight": np.float32, "Seed_phi": np.float32, "Seed_theta": np.float32, "Seed_qop": np.float32,
}  # fmt: skip


def stage_columns(parts: Sequence[dict[str, np.ndarray] | None]) -> dict[str, ak.Array]:
    """Return clusters, space points and seeds of several events; an event without values has none of them."""
    columns = {}
    for name, kind in STAGE_COLUMNS.items():
        values: list[np.ndarray] = [
            np.zeros(0, kind) if part is None else part[name].astype(kind) for part in parts
        ]
        columns[name] = ak.unflatten(np.concatenate(values), [len(one) for one in values])
    return columns


def stage_values(objects: StageObjects, modules: Modules, field: float) -> dict[str, np.ndarray]:
    """Return clusters, space points and seeds with their parameters of one event."""
    cells, clusters, points = objects.cells, objects.clusters, objects.points
    states, first = objects.states, objects.clusters.first
    theta = np.arctan2(1.0, states[:, SLOPE])
    seeds = dict(zip(SEED_CLUSTERS, points.cluster[objects.seeds.points].T, strict=True))
    return {
        "Cluster_module": modules.identifier[clusters.module], "Cluster_firstU": cells.u[first], "Cluster_firstV": cells.v[first],
        "Cluster_size": clusters.size, "Cluster_u": clusters.local[:, 0], "Cluster_v": clusters.local[:, 1],
        "Cluster_uVariance": clusters.variance[:, 0], "Cluster_vVariance": clusters.variance[:, 1],
        "Cluster_x": clusters.position[:, 0], "Cluster_y": clusters.position[:, 1], "Cluster_z": clusters.position[:, 2],
        "SpacePoint_cluster": points.cluster, "SpacePoint_x": points.x, "SpacePoint_y": points.y, "SpacePoint_z": points.z,
        "SpacePoint_rVariance": points.variance_r, "SpacePoint_zVariance": points.variance_z,
        **seeds,
        "Seed_weight": objects.seeds.weight, "Seed_phi": np.arctan2(states[:, SIN], states[:, COS]), "Seed_theta": theta,
        "Seed_qop": -states[:, CURVATURE] * np.sin(theta) / (GEV_PER_TESLA_MM * field),
    }  # fmt: skip
