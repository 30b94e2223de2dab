"""Files with cells: ROOT, and the CSV files of ACTS and of TrackML; a broken event is reported and the others go on."""

from __future__ import annotations

import awkward as ak
import numpy as np
import pytest

from tamis._base import DataError
from tamis.events import Events, open_writer
from tamis.events.detector.identifiers import unpack_identifier
from tamis.tracking.reading import read_cell_events


def table(path, **columns):
    rows = zip(*columns.values(), strict=True)
    path.write_text("\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)]) + "\n")


def columns_of(events, row, prefix):
    return {
        name.partition("_")[2]: ak.to_numpy(events[name][row])
        for name in events.array.fields
        if name.startswith(f"{prefix}_")
    }


def write_acts(folder, events):
    """Write events as ACTS does: each hit is a measurement of its own."""
    for row in range(len(events)):
        cells, hits, particles = (columns_of(events, row, prefix) for prefix in ("Cell", "Hit", "Particle"))
        stem = f"event{row:09d}"
        table(
            folder / f"{stem}-cells.csv", geometry_id=cells["module"], measurement_id=cells["hit"], channel0=cells["u"], channel1=cells["v"],
            timestamp=np.zeros(len(cells["u"])), value=cells["charge"],
        )  # fmt: skip
        number = np.arange(len(hits["x"]))
        table(folder / f"{stem}-measurement-simhit-map.csv", measurement_id=number, hit_id=number)

        def barcode(part):
            zero = np.zeros(len(part), int)
            return {
                "particle_id_pv": zero + 1,
                "particle_id_sv": zero,
                "particle_id_part": part + 1,
                "particle_id_gen": zero,
                "particle_id_subpart": zero,
            }

        table(folder / f"{stem}-hits.csv", **barcode(hits["particle"]), index=hits["index"])
        table(
            folder / f"{stem}-particles_simulated.csv", **barcode(np.arange(len(particles["vx"]))), particle_type=particles["pdgId"],
            **{name: particles[name] for name in ("vx", "vy", "vz", "px", "py", "pz")}, q=particles["charge"],
        )  # fmt: skip


def write_trackml(folder, events):
    """Write events as the challenge has them: cells name hits, which name modules."""
    for row in range(len(events)):
        cells, hits, particles = (columns_of(events, row, prefix) for prefix in ("Cell", "Hit", "Particle"))
        stem = f"event{row + 1000:09d}"
        volume, layer, module = unpack_identifier(hits["module"])
        number = np.arange(len(hits["x"])) + 1
        table(
            folder / f"{stem}-cells.csv",
            hit_id=cells["hit"] + 1,
            ch0=cells["u"],
            ch1=cells["v"],
            value=cells["charge"],
        )
        table(
            folder / f"{stem}-hits.csv",
            hit_id=number,
            x=hits["x"],
            y=hits["y"],
            z=hits["z"],
            volume_id=volume,
            layer_id=layer,
            module_id=module,
        )
        names = (np.arange(len(particles["vx"])) + 5) * 4503668346847232
        table(folder / f"{stem}-truth.csv", hit_id=number, particle_id=names[hits["particle"]])
        table(
            folder / f"{stem}-particles.csv",
            particle_id=names,
            **{name: particles[name] for name in ("vx", "vy", "vz", "px", "py", "pz")},
            q=particles["charge"],
        )


@pytest.mark.parametrize("write", [write_acts, write_trackml])
def test_csv_files_hold_the_same_as_the_root_file(write, muons, muon_file, detector, tmp_path):
    write(tmp_path, muons)
    expected = list(read_cell_events(muon_file, detector.modules))
    found = list(read_cell_events(tmp_path, detector.modules))
    assert [event.reason for event in found] == [""] * len(expected)
    for one, other in zip(found, expected, strict=True):
        for name in ("module", "u", "v"):
            np.testing.assert_array_equal(getattr(one.cells, name), getattr(other.cells, name))
        np.testing.assert_allclose(one.cells.charge, other.cells.charge, rtol=1e-6)
        np.testing.assert_array_equal(one.truth.of_cell, other.truth.of_cell)
        np.testing.assert_allclose(one.truth.momentum, other.truth.momentum, rtol=1e-5)


def test_one_csv_file_is_one_event(muons, detector, tmp_path):
    write_acts(tmp_path, muons)
    (event,) = read_cell_events(tmp_path / "event000000002-cells.csv", detector.modules)
    assert event.number == 2


def test_without_truth_files_there_are_cells_only(muons, detector, tmp_path):
    write_acts(tmp_path, muons)
    for path in tmp_path.glob("*-hits.csv"):
        path.unlink()
    assert all(event.truth is None and event.cells for event in read_cell_events(tmp_path, detector.modules))


def with_cells(events, change):
    """Return the events with one column of cells changed in the second one."""
    columns = {name: events[name] for name in events.array.fields}
    for name, values in change.items():
        rows = [ak.to_numpy(columns[name][k]).copy() for k in range(len(events))]
        rows[1][3] = values
        columns[name] = ak.Array(rows)
    return Events.of(columns)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"Cell_module": np.uint64(7)}, "is not in the detector"),
        ({"Cell_u": np.int16(30000)}, "is outside module"),
        ({"Cell_charge": np.float32("nan")}, "is nan, not a positive number"),
    ],
    ids=["module", "cell", "charge"],
)
def test_a_broken_event_has_its_reason_and_the_rest_goes_on(muons, detector, tmp_path, change, reason):
    path = tmp_path / "broken.root"
    with open_writer(path) as writer:
        writer.write(with_cells(muons, change))
    found = list(read_cell_events(path, detector.modules))
    assert [event.cells is None for event in found] == [False, True, False, False]
    assert reason in found[1].reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("geometry_id,channel0,channel1\n1,2,3\n", "has no column value"),
        ("geometry_id,channel0,channel1,value\n1,2\n", "cannot be read"),
        ("geometry_id,channel0,channel1,value\nx,2,3,4\n", "cannot be read"),
        (
            "geometry_id,channel0,channel1,value\n504403295704449280,a,3,4\n",
            "the column channel0 .* is not numbers",
        ),
        ("geometry_id,channel0,channel1,value\n504403295704449280,,3,4\n", "not numbers|without a value"),
        ("", "cannot be read"),
        ("hit_id,ch0,ch1,value\n1,2,3,4\n", "hits.csv is missing"),
    ],
)
def test_a_broken_csv_file_is_one_broken_event(muons, detector, tmp_path, text, reason):
    import re

    write_acts(tmp_path, muons[:1] if isinstance(muons, list) else muons)
    for path in (tmp_path / "event000000003-hits.csv",):
        path.unlink()
    (tmp_path / "event000000003-cells.csv").write_text(text)
    found = list(read_cell_events(tmp_path, detector.modules))
    assert [event.cells is None for event in found] == [False, False, False, True]
    assert re.search(reason, found[3].reason)


def test_an_event_without_cells_is_an_event(muons, detector, reconstruction, tmp_path):
    write_acts(tmp_path, muons)
    for path in tmp_path.glob("event000000001-*.csv"):
        path.write_text(path.read_text().splitlines()[0] + "\n")
    columns = {name: muons[name] for name in muons.array.fields}
    for name in columns:
        if name.startswith(("Cell_", "Hit_", "Particle_")):
            columns[name] = ak.Array(
                [columns[name][0], columns[name][0][:0], columns[name][2], columns[name][3]]
            )
    with open_writer(tmp_path / "empty.root") as writer:
        writer.write(Events.of(columns))
    for source in (tmp_path, tmp_path / "empty.root"):
        found = list(read_cell_events(source, detector.modules))
        assert [event.reason for event in found] == [""] * 4
        assert len(found[1].cells) == 0
        assert len(reconstruction(found[1].cells)) == 0


def test_other_places_are_told_apart(muons, detector, tmp_path):
    with pytest.raises(DataError, match="has no file named event"):
        list(read_cell_events(tmp_path, detector.modules))
    (tmp_path / "cells.csv").write_text("a\n1\n")
    with pytest.raises(DataError, match="is not named event"):
        list(read_cell_events(tmp_path / "cells.csv", detector.modules))
    path = tmp_path / "jets.root"
    with open_writer(path) as writer:
        writer.write(Events.of({"run": [1], "luminosityBlock": [1], "event": [1], "x": [1.0]}))
    with pytest.raises(DataError, match="has no column Cell_module"):
        list(read_cell_events(path, detector.modules))
