"""TorchScript models with operators of a library, which is compiled here as torch_scatter's is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton

from tamis._base import TamisError
from tamis.cbuild import find_compiler

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
HEADERS = Path(torch.__file__).parent / "include"
SOURCE = """
#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
void turned(StableIValue* stack, uint64_t, uint64_t) {
    auto x = torch::stable::detail::to<torch::stable::Tensor>(stack[0]);
    stack[0] = torch::stable::detail::from(torch::stable::transpose(x, 0, 1));
}
STABLE_TORCH_LIBRARY(tamis_sparse, m) { m.def("turned(Tensor x) -> Tensor"); }
STABLE_TORCH_LIBRARY_IMPL(tamis_sparse, CPU, m) { m.impl("turned", turned); }
"""
CONFIG = """
backend: "pytorch"
input [ { name: "INPUT__0" data_type: TYPE_FP32 dims: [ 2, 3 ] } ]
output [ { name: "OUTPUT__0" data_type: TYPE_FP32 dims: [ 3, 2 ] } ]
"""
SCRIPT = """
import sys, torch
torch.ops.load_library(sys.argv[1])
class Turned(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.ops.tamis_sparse.turned(x)
torch.jit.trace(Turned(), torch.zeros(2, 3)).save(sys.argv[2])
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """A library with the operator tamis_sparse::turned."""
    if not (HEADERS / "torch" / "csrc" / "stable" / "ops.h").is_file():
        pytest.skip("this torch has no stable headers for operators")
    try:
        find_compiler()
    except TamisError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("library")
    (folder / "turned.cpp").write_text(SOURCE)
    target, libraries = folder / "turned.so", HEADERS.parent / "lib"
    flags = ["-std=c++17", "-shared", "-fPIC", f"-I{HEADERS}", f"-L{libraries}", "-lc10", "-ltorch_cpu"]
    subprocess.run(["c++", folder / "turned.cpp", "-o", target, *flags], check=True)
    return target


@pytest.fixture(scope="module")
def repository(library, tmp_path_factory):
    """A repository with a model that uses the operator."""
    folder = tmp_path_factory.mktemp("models") / "turned"
    (folder / "1").mkdir(parents=True)
    (folder / "config.pbtxt").write_text(CONFIG)
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", SCRIPT, library, folder / "1" / "model.pt"], check=True
    )
    return folder.parent


def test_model_is_served_with_its_library(repository, library, start):
    server = start(repository, "--torch-library", library)
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    with triton.InferenceServerClient(server.grpc) as client:
        tensor = triton.InferInput("INPUT__0", x.shape, "FP32")
        tensor.set_data_from_numpy(x)
        assert client.infer("turned", [tensor]).as_numpy("OUTPUT__0").tolist() == x.T.tolist()


def command(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "tamis", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_missing_library_is_told_with_operator_and_option(repository):
    code, out, _ = command("serve", "--check", repository)
    assert code == 6
    assert (
        f"turned: {repository / 'turned' / '1' / 'model.pt'} uses the operator tamis_sparse::turned, which is not part of "
        "torch: pass the shared library that defines it with --torch-library" in out
    )


def test_file_that_is_no_library_is_told(repository, tmp_path):
    (tmp_path / "text.so").write_text("nothing")
    code, out, _ = command("serve", "--check", repository, "--torch-library", tmp_path / "text.so")
    assert code == 6
    assert f"--torch-library {tmp_path / 'text.so'} cannot be loaded into torch {torch.__version__}" in out


def test_pack_tells_that_the_operator_has_no_form_in_onnx(repository, tmp_path):
    np.savez(tmp_path / "sample.npz", x=np.zeros((2, 3), np.float32))
    file = repository / "turned" / "1" / "model.pt"
    code, _, err = command("pack", file, "--inputs", tmp_path / "sample.npz", "-o", tmp_path / "m.tamis")
    assert code == 6
    assert "uses the operator tamis_sparse::turned, which is not part of torch and has no form in ONNX" in err
    assert "`tamis serve --torch-library`" in err
