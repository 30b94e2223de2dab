"""The hardware of every shipped firmware bundle: bits of Verilog and of yosys' netlist against the emulation, LUTs, latency.

Usage: python benchmarks/firmware_zoo.py [NAME ...] [-o RECORD.json]
Needs alkaid (extra fpga), Verilator and yosys; about ten minutes for each bundle of 10,000 LUTs on one core, an hour and 6 GB for one of 50,000. Bundles that
the record holds already are kept as long as their model is the same.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from tamis._base import ModelError, host_facts, registry, utc_timestamp
from tamis.bundle import BUNDLE_GROUP, Bundle
from tamis.firmware.project import Request, build_firmware


def main() -> None:
    """Verify, synthesise, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "names", nargs="*", help="default: all shipped bundles that can be made into hardware"
    )
    parser.add_argument("--clock", type=float, default=240.0, help="MHz")
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    before = json.loads(options.output.read_text()) if options.output and options.output.exists() else {}
    known = {row["bundle"]: row for row in before.get("bundles", [])}
    names = options.names or registry.names(BUNDLE_GROUP)
    rows: list[dict[str, Any]] = [row for name, row in known.items() if name not in names]
    for name in names:
        bundle = Bundle.open(name)
        found = known.get(name)
        if found is None or found["checksum"] != bundle.manifest.files["model.onnx"].sha256:
            try:
                request = Request(clock_mhz=options.clock, synthesise=True, verify=True, netlist=True)
                record = build_firmware(bundle, None, request)
            except ModelError as error:
                print(f"{name}: not for firmware: {error}", flush=True)
                continue
            found = record.model_dump(mode="json", exclude={"host"})
        rows.append(found)
        agreement = ", ".join(
            f"{one['what']} {one['random_vectors']} vectors, {one['differing']} differ"
            for one in found["agreement"]
        )
        print(
            f"{name}: {found['synthesis']['lut']} LUT, {found['latency_cycles']} cycles at {options.clock:g} MHz; {agreement}",
            flush=True,
        )
    if options.output is not None:
        record = {
            "kind": "firmware-zoo",
            "created": utc_timestamp(),
            "host": host_facts().model_dump(mode="json"),
            "bundles": rows,
        }
        options.output.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
