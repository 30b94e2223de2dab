"""CSV files of events as ACTS writes them: tables of numbers, and which particle and hit each row is of."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv

from tamis._base import DataError

ACTS_PARTICLE = (
    "particle_id_pv",
    "particle_id_sv",
    "particle_id_part",
    "particle_id_gen",
    "particle_id_subpart",
)
PARTICLE_BITS = (12, 12, 16, 8, 16)  # of each of them in one number

Table = Mapping[str, np.ndarray]


def read_table(path: Path) -> dict[str, np.ndarray]:
    """Return the columns of a CSV file of numbers."""
    unsigned = {column: pa.uint64() for column in ("geometry_id",)}
    try:
        table = pa_csv.read_csv(path, convert_options=pa_csv.ConvertOptions(column_types=unsigned))
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing") from error
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    if not table.num_rows:  # without rows a column has no type
        return dict.fromkeys(table.column_names, np.zeros(0, np.int64))
    return {column: table[column].to_numpy() for column in table.column_names}


def particle_of_hits(hits: Table, particles: Table) -> np.ndarray:
    """Return the row of each hit's particle, -1 where it is not in the table."""
    names, wanted = _particle_numbers(particles), _particle_numbers(hits)
    if not len(names):
        return np.full(len(wanted), -1, np.int64)
    order = np.argsort(names)
    found = np.minimum(np.searchsorted(names[order], wanted), len(order) - 1)
    return np.where(names[order][found] == wanted, order[found], -1)


def hit_of_measurements(links: Table, measurement: np.ndarray) -> np.ndarray:
    """Return the first hit of each measurement, -1 where it has none."""
    most = int(max(links["measurement_id"].max(initial=0), measurement.max(initial=0)))
    hit = np.full(most + 1, -1, np.int64)
    hit[links["measurement_id"][::-1]] = links["hit_id"][::-1]
    return hit[measurement]


def _particle_numbers(table: Table) -> np.ndarray:
    result = np.zeros(len(table[ACTS_PARTICLE[0]]), np.int64)
    for name, bits in zip(ACTS_PARTICLE, PARTICLE_BITS, strict=True):
        result = (result << bits) | table[name].astype(np.int64)
    return result
