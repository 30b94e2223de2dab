"""Export a bundle as an hls4ml project: written, its C simulation compiled, and every bit compared before it is in place."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tamis._base import (
    ModelError,
    UsageError,
    VerificationError,
    atomic_path,
    host_facts,
    utc_timestamp,
    write_text,
)
from tamis.bundle import Bundle, rows_of
from tamis.bundle.store import MODEL_FILE
from tamis.firmware.emulator import Emulator
from tamis.firmware.folded.repeats import find_repeats
from tamis.firmware.hls.graph import (
    HLS_BACKEND,
    HlsSignature,
    hls4ml_version,
    make_graph,
    quiet,
    signature_of,
    type_text,
)
from tamis.firmware.hls.layers import HlsPlan, HlsPort, plain_name
from tamis.firmware.hls.operators import STRUCTURES
from tamis.firmware.hls.planner import Planner
from tamis.firmware.hls.readme import readme_text
from tamis.firmware.hls.simulate import compile_simulation, compiler_version, simulate, write_simulation
from tamis.firmware.verify import CHUNK, random_rows
from tamis.fixedpoint import FixedGrid, FixedPointArray, FixedProgram
from tamis.fixedpoint.emulate import Integers
from tamis.records import BitAgreement, HlsProjectLayer, HlsRecord

RANDOM_VECTORS = 100_000
PART = "xcvu13p-flga2577-2-e"  # hls4ml's own default


@dataclass(frozen=True)
class HlsRequest:
    """What to write, and how much of it to compare."""

    part: str = PART
    clock_mhz: float = 200.0
    vectors: int = RANDOM_VECTORS
    seed: int = 0


def export_hls4ml(
    bundle: Bundle, out: Path, request: HlsRequest, say: Callable[[str], None] = lambda _: None
) -> HlsRecord:
    """Write a bundle as an hls4ml project whose C simulation gives its bits; nothing is written where it does not."""
    if out.exists() and any(out.iterdir() if out.is_dir() else [out]):
        raise UsageError(f"{out} exists already: choose another folder, or remove it")
    emulator = Emulator(bundle.model, rows_of(bundle.golden.inputs, slice(0, 1)))
    program = emulator.graph.program
    for repeat in find_repeats(program):
        layer = program.steps[repeat.end - 1].layer
        raise ModelError(
            f"{bundle.name} has a recurrent layer of {repeat.count} equal steps ({layer}), for which hls4ml has no layer that gives the same "
            "bits: make its hardware with `tamis firmware`"
        )
    plan = Planner(emulator.graph).plan(STRUCTURES)
    name = plain_name(bundle.name, set())
    integers = emulator.integers(bundle.golden.inputs)
    golden = np.concatenate(
        [integers[one.tensor].reshape(bundle.golden_events, -1) for one in program.inputs], axis=1
    ).astype(np.float64)
    ranges = FixedGrid(
        *(
            np.concatenate([getattr(one, part).ravel() for one in program.inputs])
            for part in ("low", "high", "fraction")
        )
    )
    vectors = np.concatenate([golden, random_rows(ranges, request.vectors, request.seed)])
    with atomic_path(out) as part:
        say("writing the project with hls4ml")
        part.mkdir(parents=True)
        graph = make_graph(plan, part, name, request.part, 1e3 / request.clock_mhz)
        with quiet():
            graph.write()
        signature = signature_of(graph)
        write_simulation(part, name, signature)
        say("compiling the C simulation")
        compile_simulation(part)
        say(f"comparing {len(vectors)} vectors")
        _compare(program, plan, part, vectors)
        agreement = BitAgreement(
            what="C simulation",
            simulator=compiler_version(part),
            golden_events=len(golden),
            random_vectors=request.vectors,
            differing=0,
        )
        record = HlsRecord(
            bundle=bundle.name,
            checksum=bundle.manifest.files[MODEL_FILE].sha256,
            created=utc_timestamp(),
            host=host_facts(),
            hls4ml=hls4ml_version(),
            backend=HLS_BACKEND,
            part=request.part,
            clock_mhz=request.clock_mhz,
            layers=tuple(
                HlsProjectLayer(
                    name=layer.name,
                    class_name=layer.kind,
                    types={key: type_text(kind) for key, kind in layer.types.items()},
                )
                for layer in plan.layers
            ),
            agreement=agreement,
            seed=request.seed,
        )
        _finish(part, record, plan, signature, program, golden, emulator)
    return record


def _ports(program: FixedProgram, ports: Sequence[HlsPort], rows: np.ndarray) -> np.ndarray:
    """Return what ports of the project hold for rows of the program's inputs."""
    sizes = [int(np.prod(one.shape)) for one in program.inputs]
    values = []
    for part, one in zip(np.split(rows, np.cumsum(sizes)[:-1], axis=1), program.inputs, strict=True):
        fraction = max(0, int(one.fraction.max(initial=0)))
        scaled = np.rint(np.ldexp(part.reshape(len(rows), *one.shape), fraction)).astype(np.int64)
        values.append(FixedPointArray(scaled, fraction))
    results = program.evaluate(Integers(), values)
    return np.concatenate([results[port.value].values().reshape(len(rows), -1) for port in ports], axis=1)


def _compare(program: FixedProgram, plan: HlsPlan, folder: Path, vectors: np.ndarray) -> None:
    """Raise VerificationError if the C simulation differs from the emulation in one bit."""
    for begin in range(0, len(vectors), CHUNK):
        rows = vectors[begin : begin + CHUNK]
        seen = simulate(folder, _ports(program, plan.inputs, rows))
        expected = _ports(program, plan.outputs, rows)
        wrong = np.flatnonzero((seen != expected).any(axis=1))
        if len(wrong):
            row = int(wrong[0])
            column = int(np.flatnonzero(seen[row] != expected[row])[0])
            raise VerificationError(
                f"the C simulation of hls4ml differs from the emulation in {len(wrong)} of {len(rows)} vectors; the first: vector "
                f"{begin + row}, output {column}: {seen[row, column]:g} instead of {expected[row, column]:g}; please report this "
                "with the bundle"
            )


def _finish(
    folder: Path,
    record: HlsRecord,
    plan: HlsPlan,
    signature: HlsSignature,
    program: FixedProgram,
    golden: np.ndarray,
    emulator: Emulator,
) -> None:
    """Write vectors, record and README, and remove what was only needed to compare."""
    shutil.rmtree(folder / "build")
    inputs, outputs = (_ports(program, ports, golden) for ports in (plan.inputs, plan.outputs))
    inputs.astype("<f8").tofile(folder / "csim" / "inputs.bin")
    outputs.astype("<f8").tofile(folder / "csim" / "outputs.bin")
    for rows, name in ((inputs, "tb_input_features.dat"), (outputs, "tb_output_predictions.dat")):
        lines = [" ".join(f"{number:.17g}" for number in row) for row in rows]
        write_text(folder / "tb_data" / name, "\n".join(lines) + "\n")
    config = folder / "hls4ml_config.yml"
    config.write_text(config.read_text().replace(str(folder), "."), encoding="utf-8")
    write_text(folder / "record.json", record.model_dump_json(indent=1) + "\n")
    write_text(folder / "README.md", readme_text(record, plan, signature, emulator.graph))
