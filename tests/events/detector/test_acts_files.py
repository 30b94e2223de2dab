"""Geometry files of ACTS: modules and cells that are read, and the messages for wrong files."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tamis._base import DataError
from tamis.events.detector import generic_detector, read_detector
from tamis.events.detector.identifiers import unpack_identifier

COLUMNS = [
    "geometry_id", "volume_id", "boundary_id", "layer_id", "module_id", "extra_id", "cx", "cy", "cz",
    *(f"rot_{axis}{side}" for axis in "xyz" for side in "uvw"),
    "bounds_type", *(f"bound_param{i}" for i in range(7)), "module_t", "pitch_u", "pitch_v",
]  # fmt: skip


def lines(modules, rows):
    """Return rows of `detectors.csv`, the surface of a layer first."""
    yield dict.fromkeys(COLUMNS, 0) | {"volume_id": 8, "layer_id": 1}
    for row in rows:
        volume, layer, module = (int(part) for part in unpack_identifier(modules.identifier[row]))
        low, high = modules.half_u[row]
        half_v = modules.half_v[row]
        bounds = [-low, -half_v, low, half_v] if low == high else [low, high, half_v, 0]
        values = {
            "geometry_id": modules.identifier[row], "volume_id": volume, "layer_id": layer, "module_id": module,
            "bounds_type": 6 if low == high else 7, "module_t": modules.thickness[row],
        }  # fmt: skip
        values |= {f"c{axis}": modules.centre[row, k] for k, axis in enumerate("xyz")}
        values |= {
            f"rot_{axis}{side}": modules.axes[row, j, k]
            for k, axis in enumerate("xyz")
            for j, side in enumerate("uvw")
        }
        values |= {f"bound_param{k}": value for k, value in enumerate(bounds)}
        yield dict.fromkeys(COLUMNS, 0) | values


def write(path, rows, columns=COLUMNS):
    path.write_text(
        "\n".join([",".join(columns), *(",".join(str(row[name]) for name in columns) for row in rows)]) + "\n"
    )
    return path


@pytest.fixture(scope="module")
def generic():
    return generic_detector()


@pytest.fixture
def some(generic, tmp_path):
    """A file of ninety modules, rectangles and trapezoids."""
    return write(tmp_path / "detectors.csv", lines(generic.modules, range(0, len(generic.modules), 210)))


def test_what_is_written_is_read(generic, some):
    found = read_detector(some).modules
    expected = generic.modules.take(np.arange(0, len(generic.modules), 210))
    for name in ("identifier", "volume", "layer", "centre", "axes", "half_u", "half_v", "thickness"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), err_msg=name)


def test_the_whole_generic_detector_is_recognised_with_its_matter(generic, tmp_path):
    path = write(tmp_path / "detectors.csv", lines(generic.modules, range(len(generic.modules))))
    found = read_detector(path)
    np.testing.assert_allclose(found.modules.material, generic.modules.material)
    assert found.passive == generic.passive
    assert found.energy_loss < 0.1


def digitisation(path, entries):
    def value(bins):
        axes = [{"bins": count, "min": -half, "max": half} for count, half in bins]
        return {"geometric": {"segmentation": {"binningdata": axes}}}

    path.write_text(json.dumps({"entries": [place | {"value": value(bins)} for place, bins in entries]}))
    return path


def test_the_most_specific_entry_of_a_digitisation_counts(some, tmp_path):
    every = [({"volume": int(v)}, [(100, 10.0), (10, 20.0)]) for v in (7, 8, 9, 12, 13, 14, 16, 17, 18)]
    rows = [
        *every,
        ({"volume": 8, "layer": 4}, [(50, 10.0), (10, 20.0)]),
        ({"volume": 8, "layer": 4, "sensitive": 19}, [(25, 10.0), (1, 20.0)]),
    ]
    found = read_detector(some, digitisation(tmp_path / "digi.json", rows)).modules
    in_layer = (found.volume == 8) & (found.layer == 4)
    assert set(found.cells[~in_layer, 0].tolist()) == {100}
    assert set(found.cells[in_layer, 0].tolist()) <= {50, 25}
    np.testing.assert_allclose(found.pitch[~in_layer], [[0.2, 4.0]] * int((~in_layer).sum()))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: [row | {"cx": "abc"} for row in rows], "line 2: cx is 'abc', not a number"),
        (lambda rows: rows[:1], "no row is a module"),
        (lambda rows: [*rows, rows[-1]], "is there twice"),
        (lambda rows: [*rows[:-1], rows[-1] | {"rot_xu": 3.0}], "are not a rotation"),
        (lambda rows: [*rows[:-1], rows[-1] | {"bounds_type": 11}], "bounds_type 11 of a module is neither"),
    ],
    ids=["text", "no-modules", "twice", "sheared", "annulus"],
)
def test_wrong_values_are_named(generic, tmp_path, change, message):
    rows = change(list(lines(generic.modules, [0, 5000])))
    with pytest.raises(DataError, match=message):
        read_detector(write(tmp_path / "detectors.csv", rows))


def test_other_files_are_not_taken_for_geometries(generic, some, tmp_path):
    for name, text, message in (
        ("a.csv", "x,y\n1,2\n", "has no column cx: it is not a geometry"),
        ("b.csv", "", "has no column cx"),
        ("c.csv", some.read_text() + "1,2\n", "2 fields, and the header has 29"),
    ):
        (tmp_path / name).write_text(text)
        with pytest.raises(DataError, match=message):
            read_detector(tmp_path / name)
    (tmp_path / "d.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="is not text"):
        read_detector(tmp_path / "d.csv")
    for name, text in (("e.json", "{"), ("f.json", '{"entries": [{}]}'), ("g.json", "[]")):
        (tmp_path / name).write_text(text)
        with pytest.raises(DataError, match="is not a geometric digitisation"):
            read_detector(some, tmp_path / name)
    with pytest.raises(DataError, match="says nothing about module"):
        read_detector(some, digitisation(tmp_path / "h.json", [({"volume": 8}, [(1, 1.0), (1, 1.0)])]))
