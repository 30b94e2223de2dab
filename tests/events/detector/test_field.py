"""Field maps: how files are understood, what lies between points, and the messages for other files; a solenoid obeys Maxwell."""

from __future__ import annotations

import numpy as np
import pytest

from tamis._base import UsageError
from tamis.events.detector import generic_detector, read_field_map, solenoid_field, write_field_map

RADII, HEIGHTS = np.linspace(0, 1100, 12), np.linspace(-3200, 3200, 33)


def br_bz(r, z):
    """A field that is linear in r and z, as maps are between their points."""
    return 1e-4 * r * z / 3200, 2.0 - 1e-4 * np.abs(z) - 2e-4 * r


def rows(heights=HEIGHTS):
    return [(r, z, *br_bz(r, z)) for r in RADII for z in heights]


def text(points, separator=",", header="r,z,Br,Bz"):
    lines = [header] if header else []
    return "\n".join([*lines, *(separator.join(f"{value:.9g}" for value in one) for one in points)]) + "\n"


@pytest.fixture
def write(tmp_path):
    def written(content):
        path = tmp_path / "field.csv"
        path.write_bytes(content) if isinstance(content, bytes) else path.write_text(content)
        return path

    return written


@pytest.mark.parametrize(
    "content",
    [
        text(rows()),
        text(rows(), " ", header=""),  # as ACTS writes it
        "% a solenoid\n# r z Br Bz\n\n" + text(rows(), "\t", header=""),
        text(rows()[::-1]),
        text([(bz, z, r, br) for r, z, br, bz in rows()], header="Bz [T], z [mm], r, Br"),
        text(
            [(r / 1000, z / 1000, 10 * br, 10 * bz) for r, z, br, bz in rows()],
            header="r[m],z[m],Br[kG],Bz[kG]",
        ),
        text(rows(HEIGHTS[HEIGHTS >= 0])),  # half of it, which is mirrored
    ],
    ids=["csv", "acts", "comments", "any order", "columns", "units", "half"],
)
def test_a_map_is_read_and_linear_between_its_points(write, content):
    field_map = read_field_map(write(content))
    random = np.random.default_rng(1)
    r, z = random.uniform(0, 1100, 500), random.uniform(-3200, 3200, 500)
    z[np.abs(z) < 200] = 0.0  # |z| has a corner there
    expected = br_bz(r, z)
    np.testing.assert_allclose(field_map(r, z)[1], expected[1], atol=1e-7)
    cells = 100.0 * 200.0  # between points r z is not linear
    np.testing.assert_allclose(field_map(r, z)[0], expected[0], atol=1e-4 * cells / 3200 / 4 + 1e-7)
    assert field_map.nominal == pytest.approx(2.0)
    assert (field_map.r_end, *field_map.z_ends) == pytest.approx((1100, -3200, 3200))
    beyond = field_map(np.array([5000.0, 0.0]), np.array([0.0, -9000.0]))
    np.testing.assert_allclose(beyond[1], [br_bz(1100, 0)[1], br_bz(0, 3200)[1]])


def changed(at, values):
    points = rows()
    points[at] = values
    return points


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "has no points"),
        ("r,z,Br,Bz\n", "has no points"),
        (b"root\x00\xff\xfe", "is not text"),
        (text([one[:3] for one in rows()], header="r,z,Br"), "has no column Bz: its columns are r, z, Br"),
        (text([one[:3] for one in rows()], " ", header=""), "line 1 has 3 fields, not 4"),
        (text(rows()).replace("\n0,-3200,-0,", "\n0,-3200,x,"), "line 2: 'x' is not a number"),
        (text(rows(), header="r[inch],z,Br,Bz"), "the unit of r is 'inch'; it can be mm, cm, m"),
        (text(changed(40, (100, -1800, np.nan, 2))), "at r = 100 mm, z = -1800 mm is NaN"),
        (text(rows()[:-3] + rows()[-2:]), "1 of 396 points .* are missing, such as r = 1100 mm, z = 2800 mm"),
        (text(rows() + rows()[5:6]), "some points twice"),
        (text(rows([-3200, -3000, 0, 200, 3200])), "not regular: z goes on by 3000 mm from"),
        (
            text([one for one in rows() if one[0] != 300]),
            "not regular: r goes on by 200 mm from 200 to 400 mm",
        ),
        (text([one for one in rows() if one[0] >= 100]), "r begins at 100 mm; a map begins on the axis"),
        (text([one for one in rows() if one[1] >= 200]), "covers z from 200 to 3200 mm, without z = 0"),
        (text([one for one in rows() if one[1] == 0]), "one value of z only"),
        (text([(r, z, bz, br) for r, z, br, bz in rows()]), "a field of 0 T in the middle"),
        (text([(r, z, br + 1, bz) for r, z, br, bz in rows()]), "Br of 1 T on the axis"),
        (text([(r, z, 1e3 * br, 1e3 * bz) for r, z, br, bz in rows()]), "are its numbers in another unit"),
    ],
)
def test_a_file_that_is_no_map_is_rejected_with_the_reason(write, content, message):
    path = write(content)
    with pytest.raises(UsageError, match=message) as caught:
        read_field_map(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([one for one in rows() if one[0] <= 900], "r ends at 900 mm"),
        ([one for one in rows() if abs(one[1]) <= 2800], "-2800 and 2800 mm, those of the detector at 1025, -3000 and 3000"),
        ([(r / 1000, z / 1000, br, bz) for r, z, br, bz in rows()], r"name the unit .* such as r\[m\]"),
    ],
)  # fmt: skip
def test_a_map_that_is_too_small_is_rejected(write, points, message):
    field_map = read_field_map(write(text(points)))
    with pytest.raises(UsageError, match=message):
        generic_detector().in_field(field_map)


def test_a_detector_in_a_map_has_its_field_in_the_middle(write):
    detector = generic_detector().in_field(
        read_field_map(write(text([(r, z, -br, -bz) for r, z, br, bz in rows()])))
    )
    assert detector.field == pytest.approx(2.0)
    assert detector.field_map(np.zeros(1), np.zeros(1))[1] == pytest.approx(-2.0)


def current_loops(r, z, radius, half_length, loops=3000, pieces=400):
    """Return Br and Bz of many loops of current by the law of Biot and Savart, up to a factor."""
    phi = (np.arange(pieces) + 0.5) * 2 * np.pi / pieces
    away = z - ((np.arange(loops) + 0.5) / loops * 2 - 1)[:, None] * half_length
    x, y = r - radius * np.cos(phi), -radius * np.sin(phi)
    cubed = (x**2 + y**2 + away**2) ** 1.5
    return np.array(
        [(np.cos(phi) * away / cubed).sum(), (-(np.sin(phi) * y + np.cos(phi) * x) / cubed).sum()]
    )


def test_the_field_of_a_solenoid_is_that_of_its_loops():
    scale = 3.8 / current_loops(0, 0, 1200, 2700)[1]
    for r, z in ((0, 3000), (500, 1000), (900, -2600), (1000, 2950), (1100, 0)):
        found = solenoid_field(np.float64(r), np.float64(z), 1200, 2700, 3.8)
        np.testing.assert_allclose(found, scale * current_loops(r, z, 1200, 2700), atol=1e-5)


def test_the_field_of_a_solenoid_has_no_sources():
    r, z = (grid.ravel() for grid in np.meshgrid(np.linspace(50, 1100, 15), np.linspace(-3000, 3000, 31)))
    h = 0.1
    out, inward, up, down = (
        solenoid_field(r + a, z + b, 1200, 2700, 2.0) for a, b in ((h, 0), (-h, 0), (0, h), (0, -h))
    )
    divergence = ((r + h) * out[:, 0] - (r - h) * inward[:, 0]) / r + up[:, 1] - down[:, 1]
    curl = up[:, 0] - down[:, 0] - out[:, 1] + inward[:, 1]
    steepest = np.abs(up - down).max()
    assert steepest > 1e-4
    np.testing.assert_allclose(divergence / steepest, 0, atol=1e-5)
    np.testing.assert_allclose(curl / steepest, 0, atol=1e-5)


def test_what_is_written_is_read(tmp_path):
    values = solenoid_field(RADII[:, None], HEIGHTS[None], 1200, 2700, 2.0)
    write_field_map(tmp_path / "field.csv", RADII, HEIGHTS, values)
    np.testing.assert_allclose(read_field_map(tmp_path / "field.csv").values, values, atol=1e-9)
    with pytest.raises(UsageError, match=r"ends in \.csv or \.txt"):
        write_field_map(tmp_path / "field.root", RADII, HEIGHTS, values)
