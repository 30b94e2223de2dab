"""What one event costs in a bundle: operations, bits and energy of every layer, and LUTs and cycles of hardware."""

from __future__ import annotations

import importlib.util

from tamis._base import utc_timestamp
from tamis.bundle import Bundle, rows_of
from tamis.bundle.store import MODEL_FILE
from tamis.fixedpoint import count_model
from tamis.fixedpoint.energy import SOURCE
from tamis.records import CountRecord, OperationCount

CLOCK_MHZ = 240.0  # at which `tamis firmware` cuts the pipeline unless told otherwise
FROM_LOGIC = "the logic of the layers at 240 MHz, within about 10 % of yosys"
FROM_WEIGHTS = "the weights alone, within about 20 %; for a better one: pip install 'tamis[fpga]'"
FROM_WEIGHTS_QUICKLY = "the weights alone, within about 20 %"


def count_bundle(bundle: Bundle, *, quick: bool = False, most_ebops: int | None = None) -> CountRecord:
    """Count a bundle; LUTs and cycles from its logic if alkaid is there, unless `quick` or for more EBOPs than given."""
    layers, program = count_model(bundle.model, rows_of(bundle.golden.inputs, slice(0, 1)))
    source, cycles = None if program is None else FROM_WEIGHTS, None
    together = OperationCount()
    for layer in layers:
        together += layer
    if quick or (most_ebops is not None and (together.ebops or 0) > most_ebops):
        source = source and FROM_WEIGHTS_QUICKLY
    elif program is not None and importlib.util.find_spec("alkaid") is not None:
        from tamis.firmware.design import estimate_layers

        estimates, source = estimate_layers(program, CLOCK_MHZ), FROM_LOGIC
        cycles = sum(one.cycles for one in estimates.values())
        luts = {name: one.lut for name, one in estimates.items()}
        layers = [
            layer.model_copy(update={"lut": luts.get(layer.name, 0.0)})
            if layer.arithmetic == "fixed"
            else layer
            for layer in layers
        ]
        together = together.model_copy(update={"lut": sum(layer.lut or 0.0 for layer in layers)})
    return CountRecord(
        bundle=bundle.name,
        checksum=bundle.manifest.files[MODEL_FILE].sha256,
        created=utc_timestamp(),
        layers=tuple(layers),
        together=together,
        energy_source=SOURCE,
        lut_source=source,
        cycles=cycles,
    )
