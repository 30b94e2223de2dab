"""Weights that the code of all targets reads give the bits of those that are packed for one target."""

from __future__ import annotations

import ctypes
import subprocess

import numpy as np
import pytest

from tamis._base import host_facts
from tamis.cbuild import NUMERIC_FLAGS, find_compiler
from tamis.native.compiler import compile_model, example_event
from tamis.native.cut import HEADER, LEFT, header
from tamis.native.emission import Blob, Ways, emit
from tamis.native.targets import NATIVE_TARGETS, targets_of

WAYS = Ways(wide=(1,), narrow=(1, 2))


def aligned(values):
    room = np.empty(values.size + 16, np.float32)
    start = -room.ctypes.data % 64 // 4
    room[start : start + values.size] = values
    return room[start : start + values.size]


def outputs_of(module, constants, inputs, path, target):
    """Return the outputs of each kernel."""
    source, library = path.with_suffix(".c"), path.with_suffix(".so")
    source.write_text(module.code)
    command = [
        *find_compiler().command,
        *NUMERIC_FLAGS,
        *target.flags,
        "-O1",
        "-fPIC",
        "-shared",
        str(source),
        "-o",
        str(library),
        "-lm",
    ]
    subprocess.run(command, check=True, timeout=300)
    function, found = ctypes.CDLL(str(library)).tamis_run, []
    scratch = aligned(np.full(module.scratch_floats, np.nan, np.float32))
    for number in range(len(module.ways)):
        weights = aligned(constants)
        weights[module.header : module.header + HEADER] = header(np.full(LEFT, number, np.uint8))
        count = len(inputs[0]) // module.ways[number].events * module.ways[number].events or 1
        results = [np.full((count, size), np.nan, np.float32) for size in module.outputs]
        pointers = [
            (ctypes.c_void_p * len(group))(*(one.ctypes.data for one in group)) for group in (inputs, results)
        ]
        function(
            ctypes.c_void_p(weights.ctypes.data),
            ctypes.c_void_p(scratch.ctypes.data),
            *pointers,
            ctypes.c_long(count),
        )
        found += results
    return found


@pytest.mark.parametrize("name", ["dense", pytest.param("image", marks=pytest.mark.slow)])
def test_shared_weights_give_the_same_bits(bundle_of, tmp_path, name):
    bundle = bundle_of(name)
    compiled = compile_model(bundle.model, example_event(bundle))
    blob = Blob(for_all_targets=True)
    modules = [emit(compiled.wide, compiled.narrow, one, WAYS, blob) for one in NATIVE_TARGETS]
    own = [emit(compiled.wide, compiled.narrow, one, WAYS) for one in NATIVE_TARGETS]
    shared = blob.array()
    assert shared.size < max(one.constants.size for one in own)
    inputs = [
        np.ascontiguousarray(bundle.golden.inputs[spec.name][:20].astype(np.float32))
        for spec in bundle.manifest.signature.inputs
    ]
    features = set(host_facts().instruction_sets)
    for target, one, other in zip(NATIVE_TARGETS, modules, own, strict=True):
        if target in targets_of() and features.issuperset(target.needs):
            found = outputs_of(one, shared, inputs, tmp_path / f"{target.name}_shared", target)
            expected = outputs_of(other, other.constants, inputs, tmp_path / f"{target.name}_own", target)
            for a, b in zip(found, expected, strict=True):
                assert not np.isnan(b).any()
                np.testing.assert_array_equal(a.view(np.uint32), b.view(np.uint32))
