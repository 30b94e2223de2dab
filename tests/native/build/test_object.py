"""A model as a shared object: for every target, cached, and shared between processes."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from tamis.engines import out_of_tolerance
from tamis.native import example_event
from tamis.native.build import build
from tamis.native.call import open_kernel
from tamis.native.targets import targets_of


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    """Use an empty cache; return its folder."""
    monkeypatch.setenv("TAMIS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "native"


@pytest.mark.parametrize("target", targets_of(), ids=lambda target: target.name)
@pytest.mark.parametrize("name", ["dense", "conv1d", "deep-jet", "attention", "image"])
def test_targets_reproduce_the_golden_outputs_with_the_same_bits_in_every_batch(
    bundle_of, target, name, require_target
):
    bundle = bundle_of(name)
    signature = bundle.manifest.signature
    inputs = [bundle.golden.inputs[spec.name] for spec in signature.inputs]
    inputs = [np.resize(array, (41, *array.shape[1:])) for array in inputs]
    built = build(bundle.model_bytes, example_event(bundle), target=target)
    require_target(target)
    kernel = open_kernel(built)
    together = kernel(inputs)
    for spec, result in zip(signature.outputs, together, strict=True):
        golden = np.resize(bundle.golden.outputs[spec.name], result.shape)
        assert not out_of_tolerance(result, golden, spec.tolerance).any()
    for size in (1, 3, 8, 17, 40):
        for part, whole in zip(kernel([array[:size] for array in inputs]), together, strict=True):
            np.testing.assert_array_equal(part.view(np.uint32), whole[:size].view(np.uint32))


def test_shapes_and_cycles_are_those_of_one_event(bundle_of):
    built = build(bundle_of("conv1d").model_bytes, example_event(bundle_of("conv1d")))
    assert built.inputs == ((1, 3, 20),)
    assert built.outputs == ((1,), (1, 5))
    assert built.cycles > 10 * 6 * 9 / 32


def test_processes_that_compile_one_model_at_once_all_get_it(empty_cache, bundle_of):
    bundle = bundle_of("dense")
    code = (
        "import sys, numpy as np, tamis; s = tamis.open(sys.argv[1], 'native'); "
        "print(s(*s.bundle.golden.inputs.values()).tobytes().hex())"
    )
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(bundle.path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    outputs = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0] * 4, outputs
    assert len({out for out, _ in outputs}) == 1
    assert not [path for path in empty_cache.iterdir() if path.name.startswith(".")]


def test_damaged_object_is_compiled_again(empty_cache, bundle_of):
    bundle = bundle_of("dense")
    first = build(bundle.model_bytes, example_event(bundle))
    first.path.write_bytes(first.path.read_bytes()[:1000])
    again = build(bundle.model_bytes, example_event(bundle))
    results = open_kernel(again)(list(bundle.golden.inputs.values()))
    np.testing.assert_allclose(results[0], bundle.golden.outputs["score"], rtol=1e-5)


def test_compiled_code_keeps_the_floating_point_mode_of_the_process(bundle_of):
    """Denormals are not flushed to zero after compiled code was loaded and run."""
    code = (
        "import sys, numpy as np, tamis; s = tamis.open(sys.argv[1], 'native'); s(*s.bundle.golden.inputs.values()); "
        "x = np.full(64, 1e-40, np.float32); assert (x * np.float32(0.5) > 0).all()"
    )
    subprocess.run([sys.executable, "-c", code, str(bundle_of("dense").path)], check=True, timeout=120)
