"""Compile all kernels for a GPU that need not be there, and tell the registers and the local memory that they take.

Usage: python -m tamis.tracking.cuda.compile [--architecture 90] [--mapped]
"""

from __future__ import annotations

import argparse
import json
import re
import types
from dataclasses import asdict, dataclass
from typing import Any
from unittest import mock

import numpy as np

from tamis._base import require
from tamis.events.detector import constant_map, generic_detector
from tamis.tracking.cuda.device import recorded, to_device
from tamis.tracking.cuda.streams import cuda
from tamis.tracking.finding import FindingSettings
from tamis.tracking.kernels.types import CellArrays
from tamis.tracking.seeding import SeedingSettings, seeding_layers

USAGE = re.compile(r"Used (\d+) registers")
STACK = re.compile(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")


@dataclass(frozen=True)
class CompiledKernel:
    """What a kernel takes on a GPU."""

    kernel: str
    architecture: int
    registers: int
    stack_bytes: int  # of local memory: states and covariances of tracks
    spill_bytes: int
    cubin_bytes: int


def record_launches(*, mapped: bool = False) -> list[tuple[Any, tuple[Any, ...]]]:
    """Return every kernel of the reconstruction, in a constant or a mapped field, with arguments of the types that it is called with."""
    from tamis.tracking.cuda.stages import CudaStages

    detector = generic_detector()
    if mapped:
        detector = detector.in_field(constant_map(detector.field))
    cells = CellArrays(
        np.zeros(1, np.int32), np.zeros(1, np.int32), np.zeros(1, np.int32), np.ones(1, np.float32)
    )
    with recorded() as launches:
        stages = CudaStages(detector, seeding_layers(detector), SeedingSettings(), FindingSettings())
        clusters = stages.clusters(to_device(cells))
        points = stages.space_points(clusters)
        seeds = stages.seeding(points)
        starts = stages.parameters(seeds, points, clusters)
        stages.fit(stages.ambiguity(stages.finding(starts, clusters)))
    return list({id(function): (function, arguments) for function, arguments in launches}.values())


def compile_kernel(function: Any, arguments: tuple[Any, ...], architecture: int) -> CompiledKernel:
    """Compile one kernel to machine code."""
    linker = require("cuda.bindings.nvjitlink", extra="cuda", purpose="compiling kernels without a GPU")
    numba = require("numba", extra="cuda", purpose="compiling kernels without a GPU")
    capability = divmod(architecture, 10)
    device = types.SimpleNamespace(compute_capability=capability)
    signature = numba.types.void(*(numba.typeof(argument) for argument in arguments))
    # numba-cuda asks the driver which GPU the functions that a kernel calls are for.
    with mock.patch("numba.cuda.dispatcher.get_current_device", return_value=device):
        ptx, _ = cuda.compile_ptx(function.py_func, signature, cc=capability, fastmath=True)
    code = ptx.encode()
    handle = linker.create(3, [f"-arch=sm_{architecture}", "-verbose", "-O3"])
    try:
        linker.add_data(handle, linker.InputType.PTX, code, len(code), function.py_func.__name__)
        linker.complete(handle)
        log = bytearray(linker.get_info_log_size(handle))
        linker.get_info_log(handle, log)
        size = linker.get_linked_cubin_size(handle)
    finally:
        linker.destroy(handle)
    text = log.decode(errors="replace")
    stacks = [tuple(map(int, found)) for found in STACK.findall(text)]
    return CompiledKernel(
        function.py_func.__name__,
        architecture,
        max(map(int, USAGE.findall(text))),
        max((stack for stack, _, _ in stacks), default=0),
        max((stores + loads for _, stores, loads in stacks), default=0),
        size,
    )


def main() -> None:
    """Print a line of JSON for each kernel."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--architecture", type=int, default=90, help="80 for an A100, 90 for an H100 or H200")
    parser.add_argument("--mapped", action="store_true", help="for a field that is a map")
    options = parser.parse_args()
    for function, arguments in record_launches(mapped=options.mapped):
        print(json.dumps(asdict(compile_kernel(function, arguments, options.architecture))), flush=True)


if __name__ == "__main__":
    main()
