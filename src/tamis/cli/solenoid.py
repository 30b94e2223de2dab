"""`tamis solenoid`: the field map of a solenoid."""

from __future__ import annotations

from pathlib import Path

import click

from tamis._base import UsageError
from tamis.cli.output import json_option, print_json, print_text

POINTS_MOST = 10_000_000


@click.command(
    name="solenoid",
    epilog="Example: tamis solenoid --radius 1200 --half-length 2700 --field 2 -o field.csv",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="Map to write, .csv or .txt: the columns r, z, Br, Bz.",
)
@click.option("--radius", type=float, required=True, help="Radius of the winding in mm.")
@click.option("--half-length", type=float, required=True, help="Half the length of the winding in mm.")
@click.option(
    "--field",
    type=float,
    default=2.0,
    show_default=True,
    help="Field in the middle along the beam, in tesla.",
)
@click.option("--step", type=float, default=25.0, show_default=True, help="Step of the grid in mm.")
@click.option(
    "--r-max", type=float, default=1050.0, show_default=True, help="Radius that the map reaches, in mm."
)
@click.option(
    "--z-max", type=float, default=3050.0, show_default=True, help="|z| that the map reaches, in mm."
)
@json_option
def command(
    output: Path,
    radius: float,
    half_length: float,
    field: float,
    step: float,
    r_max: float,
    z_max: float,
    as_json: bool,
) -> None:
    """Write the field map of a solenoid of finite length, for --field-map of `tamis simulate tracks` and `tamis track`.

    The winding is a thin cylinder without iron around it; the field falls and spreads towards its ends.
    """
    import numpy as np

    from tamis.events.detector import solenoid_field, write_field_map

    for name, value in (
        ("--radius", radius),
        ("--half-length", half_length),
        ("--step", step),
        ("--z-max", z_max),
    ):
        if not 0 < value < float("inf"):
            raise UsageError(f"{name} is {value:g}; it is a length above 0 in mm")
    if not 0 < r_max < radius:
        raise UsageError(
            f"--r-max is {r_max:g} mm and the radius of the winding {radius:g} mm: the map is of the field inside, so that 0 < r-max < radius"
        )
    if not (abs(field) < float("inf") and field != 0):
        raise UsageError(f"--field is {field:g}; it is a field in tesla other than 0")
    along_r, along_z = int(np.ceil(r_max / step)), int(np.ceil(z_max / step))
    points = (along_r + 1) * (2 * along_z + 1)
    if points > POINTS_MOST:
        raise UsageError(f"--step is {step:g} mm: the map would have {points:,} points; choose a larger one")
    radii, heights = np.linspace(0, r_max, along_r + 1), np.linspace(-z_max, z_max, 2 * along_z + 1)
    values = solenoid_field(radii[:, None], heights[None], radius, half_length, field)
    write_field_map(output, radii, heights, values)
    facts = {
        "file": str(output),
        "points": points,
        "r_max_mm": r_max,
        "z_max_mm": z_max,
        "field_tesla": field,
        "axis_end_tesla": float(values[0, -1, 1]),
    }
    if as_json:
        print_json(facts)
    else:
        print_text(
            f"{output}: {points} points up to r = {r_max:g} and |z| = {z_max:g} mm; on the axis {field:g} T in the middle, {values[0, -1, 1]:.3g} T at "
            f"z = {z_max:g} mm"
        )
