"""The same bits on every processor: digests of the outputs of the shipped models, committed and compared for every target.

`python tests/native/targets/test_bits.py` writes the file again, for a change that is meant to change bits.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tamis._base import registry
from tamis.bundle import Bundle
from tamis.bundle.model import parse_model
from tamis.bundle.rewrite import expand_trees
from tamis.cbuild import COMPILE_FLAGS
from tamis.native import Ways, compile_model
from tamis.native.build import build
from tamis.native.call import open_kernel
from tamis.native.compiler import example_event
from tamis.native.targets import NATIVE_TARGETS, Target, host_target

DIGESTS = Path(__file__).with_name("golden_bits.json")
LOCAL = [target for target in NATIVE_TARGETS if target.machine in ("", platform.machine())]
FOREIGN = [target for target in NATIVE_TARGETS if target not in LOCAL]
LARGE_FLOPS = 20_000_000  # of an event: of larger models one event is computed
MAIN = """
#include <stdio.h>
#include <stdlib.h>
static float *memory(long floats) { return aligned_alloc(64, (4 * floats + 127) / 64 * 64); }
static float *read_floats(long floats) {
    float *p = memory(floats);
    if (fread(p, 4, floats, stdin) != (size_t)floats) exit(3);
    return p;
}
int main(void) {
    const float *w = read_floats(CONSTANTS), *in[] = {INPUTS};
    float *s = memory(SCRATCH), *out[] = {OUTPUTS};
    const long sizes[] = {SIZES};
    tamis_run(w, s, in, out, GROUPS);
    for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (fwrite(out[i], 4, sizes[i], stdout) != (size_t)sizes[i]) return 4;
    return 0;
}
"""


def events_of(bundle: Bundle) -> list[np.ndarray]:
    """Return the golden events; of a large model the first."""
    values = [bundle.golden.inputs[spec.name] for spec in bundle.manifest.signature.inputs]
    count = 1 if bundle.manifest.cost.flops > LARGE_FLOPS else None
    return [np.ascontiguousarray(one[:count]) for one in values]


def model_of(bundle: Bundle) -> bytes:
    return expand_trees(parse_model(bundle.model_bytes, bundle.name)).SerializeToString()


def computed(bundle: Bundle, target: Target) -> list[np.ndarray]:
    """Return the outputs on this processor, in batches that take different kernels."""
    kernel = open_kernel(build(model_of(bundle), example_event(bundle), target=target))
    events = events_of(bundle)
    parts = [kernel([one[begin : begin + size] for one in events]) for begin, size in cuts(len(events[0]))]
    return [np.concatenate(one) for one in zip(*parts, strict=True)]


def cuts(count: int) -> list[tuple[int, int]]:
    """Return a batch of one event, one of some, and one of the others."""
    ends = sorted({0, min(1, count), min(6, count), count})
    return [(begin, end - begin) for begin, end in itertools.pairwise(ends)]


def emulated(bundle: Bundle, target: Target, folder: Path) -> list[np.ndarray]:
    """Return the outputs of a program for another machine, run by qemu."""
    compiler, emulator = f"{target.machine}-linux-gnu-gcc", f"qemu-{target.machine}"
    for tool in (compiler, emulator):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool} (Debian's gcc-{target.machine}-linux-gnu and qemu-user)")
    made = compile_model(
        parse_model(model_of(bundle), bundle.name),
        example_event(bundle),
        target,
        Ways(wide=(1,), narrow=(1,)),
    )
    module, graph, events = made.module, made.graph, events_of(bundle)
    count = len(events[0])
    inputs = [np.asarray(one, np.float32) for one in events]
    sizes = [count * size for size in module.outputs]
    main = MAIN
    for name, value in {
        "CONSTANTS": len(module.constants),
        "INPUTS": ", ".join(f"read_floats({one.size})" for one in inputs),
        "SCRATCH": module.scratch_floats,
        "OUTPUTS": ", ".join(f"memory({size})" for size in sizes),
        "SIZES": ", ".join(map(str, sizes)),
        "GROUPS": count,
    }.items():
        main = main.replace(name, str(value))
    (folder / "model.c").write_text(module.code + main)
    command = [
        compiler,
        *COMPILE_FLAGS,
        *target.flags,
        "-static",
        str(folder / "model.c"),
        "-o",
        str(folder / "model"),
        "-lm",
    ]
    subprocess.run(command, check=True, timeout=300)
    data = b"".join(one.astype(np.float32).tobytes() for one in (module.constants, *inputs))
    done = subprocess.run(
        [emulator, str(folder / "model")], input=data, capture_output=True, check=True, timeout=300
    )
    found, results = np.frombuffer(done.stdout, np.float32), []
    for name, size in zip(graph.outputs, sizes, strict=True):
        shape = (count, *graph.types[name].shape[1:])
        results.append(found[:size].reshape(shape).astype(graph.types[name].dtype))
        found = found[size:]
    return results


def digest(arrays: list[np.ndarray]) -> str:
    """Return a digest of values; every NaN counts as the same, as machines differ in its sign."""
    found = hashlib.sha256()
    for one in arrays:
        plain = np.where(np.isnan(one), np.float32(np.nan), one) if one.dtype.kind == "f" else one
        found.update(repr((one.shape, one.dtype.str)).encode() + np.ascontiguousarray(plain).tobytes())
    return found.hexdigest()[:32]


def test_every_shipped_model_has_a_digest():
    assert sorted(json.loads(DIGESTS.read_text())) == sorted(registry.names("tamis.bundles"))


@pytest.mark.slow
@pytest.mark.parametrize("name", registry.names("tamis.bundles"))
@pytest.mark.parametrize("target", LOCAL, ids=lambda target: target.name)
def test_bits_are_those_of_every_processor(name, target, require_target):
    require_target(target)
    assert digest(computed(Bundle.open(name), target)) == json.loads(DIGESTS.read_text())[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", registry.names("tamis.bundles"))
@pytest.mark.parametrize("target", FOREIGN, ids=lambda target: target.name)
def test_bits_are_those_of_another_machine(name, target, tmp_path):
    found = emulated(Bundle.open(name), target, tmp_path)
    assert digest(found) == json.loads(DIGESTS.read_text())[name]


@pytest.mark.parametrize("name", ["facile", "topology-lstm"])
@pytest.mark.parametrize("target", NATIVE_TARGETS, ids=lambda target: target.name)
def test_bits_of_small_models(name, target, require_target, tmp_path):
    if target in LOCAL:
        test_bits_are_those_of_every_processor(name, target, require_target)
    else:
        test_bits_are_those_of_another_machine(name, target, tmp_path)


if __name__ == "__main__":
    digests = {
        name: digest(computed(Bundle.open(name), host_target())) for name in registry.names("tamis.bundles")
    }
    DIGESTS.write_text(json.dumps(digests, indent=1) + "\n")
    sys.stdout.write(f"{DIGESTS}: {len(digests)} models\n")
