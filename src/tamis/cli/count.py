"""`tamis count`: what one event costs in a bundle, layer by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tamis._base import human_bytes, quantity
from tamis.cli.output import json_option, print_json, print_table, print_text, wide_option

if TYPE_CHECKING:
    from tamis.records import OperationCount

COLUMNS = (
    "layer", "MACs", "non-zero", "EBOPs", "LUT", "energy", "weights", "kept", "weight bytes", "additions", "comparisons", "look-ups", "functions", "BOPs",
    "activations",
)  # fmt: skip
EXTRA = COLUMNS[7:]


@click.command(
    name="count",
    epilog="Examples: tamis count conv-vae; tamis count small.tamis --wide; tamis count small.tamis --quick --json",
)
@click.argument("bundle")
@click.option(
    "--quick",
    is_flag=True,
    help="Estimate LUTs from the weights alone, without making the logic of the layers.",
)
@wide_option
@json_option
def command(bundle: str, quick: bool, wide: bool, as_json: bool) -> None:
    """Count what one event costs in a BUNDLE: operations, bit operations, LUTs of hardware, weights, energy; layer by layer."""
    from tamis.bundle import Bundle
    from tamis.measure.count import count_bundle

    record = count_bundle(Bundle.open(bundle), quick=quick)
    if as_json:
        print_json(record)
        return
    rows = [(layer.name, *_cells(layer)) for layer in record.layers]
    print_table(
        f"{record.bundle}, for one event",
        COLUMNS,
        [*rows, ("together", *_cells(record.together))],
        extra=EXTRA,
        wide=wide,
    )
    if record.lut_source is not None:
        print_text(f"LUT: an estimate from {record.lut_source}; `tamis firmware --synthesis` counts them")
    print_text(f"energy: {record.energy_source}")


def _cells(count: OperationCount) -> tuple[str, ...]:
    """Return the columns of a row after its name."""
    return (
        str(count.macs),
        str(count.macs_nonzero),
        "-" if count.ebops is None else str(count.ebops),
        "-" if count.lut is None else f"{count.lut:.0f}",
        quantity(count.energy_pj * 1e-12, "J"),
        str(count.weights),
        str(count.weights_nonzero),
        human_bytes(-(-count.weight_bits // 8)),
        str(count.additions),
        str(count.comparisons),
        str(count.look_ups),
        str(count.functions),
        f"{count.bops:.3g}",
        human_bytes(-(-count.activation_bits // 8)),
    )
