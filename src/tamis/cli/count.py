"""`tamis count`: what one event costs in a bundle, layer by layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tamis._base import human_bytes, quantity
from tamis.cli.output import json_option, print_json, print_table, print_text, wide_option

if TYPE_CHECKING:
    from tamis.bundle import Bundle
    from tamis.records import CountRecord, OperationCount

CLOCK_MHZ = 240.0  # at which `tamis firmware` cuts the pipeline unless told otherwise
FROM_LOGIC = "the logic of the layers at 240 MHz, within about 10 % of yosys"
FROM_WEIGHTS = "the weights alone, within about 20 %; for a better one: pip install 'tamis[fpga]'"
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

    record = _count(Bundle.open(bundle), quick)
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


def _count(bundle: Bundle, quick: bool) -> CountRecord:
    """Count a bundle; LUTs from its logic if alkaid is there."""
    from importlib.util import find_spec

    from tamis._base import utc_timestamp
    from tamis.bundle import rows_of
    from tamis.bundle.store import MODEL_FILE
    from tamis.fixedpoint import count_model
    from tamis.fixedpoint.energy import SOURCE
    from tamis.records import CountRecord, OperationCount

    layers, program = count_model(bundle.model, rows_of(bundle.golden.inputs, slice(0, 1)))
    source = None if program is None else FROM_WEIGHTS
    if program is not None and not quick and find_spec("alkaid") is not None:
        from tamis.firmware.design import estimate_luts

        luts, source = estimate_luts(program, CLOCK_MHZ), FROM_LOGIC
        layers = [
            layer.model_copy(update={"lut": luts.get(layer.name, 0.0)})
            if layer.arithmetic == "fixed"
            else layer
            for layer in layers
        ]
    together = OperationCount()
    for layer in layers:
        together += layer
    return CountRecord(
        bundle=bundle.name,
        checksum=bundle.manifest.files[MODEL_FILE].sha256,
        created=utc_timestamp(),
        layers=tuple(layers),
        together=together,
        energy_source=SOURCE,
        lut_source=source,
    )


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
