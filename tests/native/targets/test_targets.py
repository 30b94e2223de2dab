"""The targets: found by name and for the host, and a new one added as docs/how-to/write-a-target.md says."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import tamis.native.targets
from tamis._base import UsageError
from tamis.engines import out_of_tolerance
from tamis.native import example_event
from tamis.native.build import build
from tamis.native.call import open_kernel
from tamis.native.targets import NATIVE_TARGETS, discover_targets, find_target, host_target, targets_of

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "write-a-target.md"
BLOCK = re.compile(r"^```(c|py)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def test_targets_are_found_by_name_and_by_host():
    assert replace(host_target(), near=0) in [replace(target, near=0) for target in targets_of()]
    assert find_target("avx2").lanes == 8
    with pytest.raises(UsageError, match="no instruction set is called 'avx51'; did you mean 'avx512'"):
        find_target("avx51")


def test_targets_of_a_machine_come_widest_first():
    assert [target.name for target in targets_of("x86_64")] == ["avx512", "avx2", "portable"]
    assert [target.name for target in targets_of("aarch64")] == ["neon", "portable"]
    assert [target.name for target in targets_of("riscv64")] == ["portable"]


@pytest.mark.parametrize("target", NATIVE_TARGETS, ids=lambda target: target.name)
def test_no_flag_changes_floating_point_semantics(target):
    unsafe = {"-ffast-math", "-Ofast", "-funsafe-math-optimizations", "-march=native"}
    assert not unsafe.intersection(target.flags)


@pytest.mark.parametrize(
    ("sizes", "message"), [({"lanes": 3}, "3 lanes"), ({"sums": 16}, "leave some of 16 registers")]
)
def test_target_with_impossible_sizes_is_rejected(sizes, message):
    with pytest.raises(ValueError, match=message):
        replace(find_target("portable"), **sizes)


@pytest.fixture
def pairs(tmp_path, monkeypatch):
    """Return the target of docs/how-to/write-a-target.md, added to the package as the page says."""
    blocks = BLOCK.findall(PAGE.read_text(encoding="utf-8"))
    header, replacement = (code for language, code in blocks if language == "c")
    (module,) = (code for language, code in blocks if language == "py")
    (tmp_path / "pairs.h").write_text(f"{header}\n{replacement}")
    (tmp_path / "pairs.py").write_text(module)
    monkeypatch.setattr(tamis.native.targets, "__path__", [*tamis.native.targets.__path__, str(tmp_path)])
    yield next(target for target in discover_targets() if target.name == "pairs")
    sys.modules.pop("tamis.native.targets.pairs")
    del tamis.native.targets.pairs


@pytest.mark.parametrize("name", ["conv1d", "deep-jet", "attention"])
def test_target_written_by_the_page_reproduces_the_golden_outputs(bundle_of, pairs, name):
    bundle = bundle_of(name)
    signature = bundle.manifest.signature
    inputs = [bundle.golden.inputs[spec.name] for spec in signature.inputs]
    kernel = open_kernel(build(bundle.model_bytes, example_event(bundle), target=pairs))
    together = kernel(inputs)
    for spec, result in zip(signature.outputs, together, strict=True):
        assert not out_of_tolerance(result, bundle.golden.outputs[spec.name], spec.tolerance).any()
    for part, whole in zip(kernel([array[:3] for array in inputs]), together, strict=True):
        np.testing.assert_array_equal(part.view(np.uint32), whole[:3].view(np.uint32))


@pytest.mark.parametrize("name", ["avx512", "avx2"])
def test_generic_operations_agree_with_those_of_a_target(bundle_of, require_target, name):
    """The portable header at a wider width: what moves.h has for every width, a target's header replaces with the same results."""
    target = find_target(name)
    generic = replace(target, name="generic", header=find_target("portable").header, halves=False)
    bundle = bundle_of("image")
    inputs = [bundle.golden.inputs[spec.name] for spec in bundle.manifest.signature.inputs]
    built = [build(bundle.model_bytes, example_event(bundle), target=one) for one in (target, generic)]
    require_target(target)
    for one, other in zip(*(open_kernel(one)(inputs) for one in built), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
