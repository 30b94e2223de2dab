"""Other processors, emulated: right answers without AVX-512 and VNNI (Haswell) and without AVX2 (Nehalem)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from tamis.bundle import pack
from tamis.native.targets import host_target

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("qemu-x86_64") is None, reason="needs qemu-x86_64 (Debian's qemu-user)"),
]
NATIVE_LEVELS = {"Haswell": "avx2", "Nehalem": "portable"}
SATURATION = "openvino saturates on processors without VNNI"


def emulated(processor: str, *arguments: str, cache: Path) -> subprocess.CompletedProcess[str]:
    """Run Python on an emulated processor, with an empty cache of compiled models."""
    return subprocess.run(
        ["qemu-x86_64", "-cpu", processor, sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "TAMIS_CACHE": str(cache)},
    )


@pytest.fixture(scope="module")
def saturating(tmp_path_factory) -> Path:
    """Write a QDQ matrix product whose pairs of 8-bit products exceed 16 bits: 30 % off where they are added in 16."""
    from onnx import TensorProto, helper, numpy_helper

    rng = np.random.default_rng(0)
    constants = {
        "weight": rng.integers(100, 127, (64, 8), dtype=np.int8),
        "x_step": np.float32(0.02),
        "weight_step": np.float32(0.01),
        "y_step": np.float32(2.0),
        "zero": np.uint8(0),
        "weight_zero": np.int8(0),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "x_step", "zero"], ["x_8bit"]),
        helper.make_node("DequantizeLinear", ["x_8bit", "x_step", "zero"], ["x_float"]),
        helper.make_node("DequantizeLinear", ["weight", "weight_step", "weight_zero"], ["weight_float"]),
        helper.make_node("MatMul", ["x_float", "weight_float"], ["product"]),
        helper.make_node("QuantizeLinear", ["product", "y_step", "zero"], ["y_8bit"]),
        helper.make_node("DequantizeLinear", ["y_8bit", "y_step", "zero"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "saturating",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 8])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    folder = tmp_path_factory.mktemp("saturating")
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    onnx.save(model, folder / "model.onnx")
    np.savez(folder / "inputs.npz", x=rng.uniform(3, 5, (16, 64)).astype(np.float32))
    pack(folder / "model.onnx", folder / "model.tamis", inputs=folder / "inputs.npz")
    return folder


@pytest.mark.parametrize("processor", NATIVE_LEVELS)
def test_pack_accepts_exact_8_bit_products_and_explains_saturated_ones(processor, saturating, tmp_path):
    command = ["-m", "tamis", "pack", str(saturating / "model.onnx")]
    command += ["--inputs", str(saturating / "inputs.npz"), "-o", str(tmp_path / "model.tamis")]
    refused = emulated(processor, *command, "--engine", "openvino", cache=tmp_path)
    assert refused.returncode == 7, refused.stderr
    assert SATURATION in refused.stderr
    assert "reduce_range=True" in refused.stderr
    assert not (tmp_path / "model.tamis").exists()
    packed = emulated(processor, *command, cache=tmp_path)
    assert packed.returncode == 0, packed.stderr
    assert "which onnxruntime reproduces" in packed.stdout


@pytest.mark.parametrize(("processor", "bundle"), [("Haswell", "facile"), ("Nehalem", "topology-hlf")])
def test_native_and_onnxruntime_pass_the_gate(processor, bundle, tmp_path):
    verified = emulated(
        processor, "-m", "tamis", "verify", bundle, "--engine", "native,onnxruntime", cache=tmp_path
    )
    assert verified.returncode == 0, verified.stderr
    assert "native" in verified.stdout
    assert "NO" not in verified.stdout
    assert list(tmp_path.rglob("code.so")), "native compiled nothing in the emulated process"


def test_verify_explains_saturated_8_bit_products(saturating, tmp_path):
    command = ["-m", "tamis", "verify", str(saturating / "model.tamis"), "--engine", "openvino"]
    verified = emulated("Haswell", *command, cache=tmp_path)
    assert verified.returncode == 7, verified.stderr
    assert SATURATION in verified.stderr


@pytest.mark.parametrize(("processor", "level"), NATIVE_LEVELS.items())
def test_native_compiles_for_the_emulated_processor(processor, level, tmp_path):
    code = f"from {host_target.__module__} import host_target; print(host_target().name)"
    found = emulated(processor, "-c", code, cache=tmp_path)
    assert found.stdout.strip() == level, found.stderr


@pytest.mark.parametrize(
    ("processor", "level"), [("Haswell", "x86-64-v3"), ("Nehalem", "x86-64-v2"), ("qemu64", "x86-64-v1")]
)
def test_level_is_that_of_the_emulated_processor(processor, level, tmp_path):
    found = emulated(
        processor, "-c", "from tamis._base import processor_level; print(processor_level())", cache=tmp_path
    )
    assert found.stdout.strip() == level, found.stderr
