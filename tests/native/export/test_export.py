"""Exported C builds without warnings and passes its own test on each instruction set."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from click.testing import CliRunner

from tamis._base import ModelError, UsageError
from tamis.bundle import pack
from tamis.cbuild import NUMERIC_FLAGS, find_compiler
from tamis.cli.app import app
from tamis.native.export import export_c
from tamis.native.export.interface import identifier, identifiers
from tamis.native.targets import NATIVE_TARGETS, targets_of

FLAGS = ("-std=c11", *NUMERIC_FLAGS, "-O1", "-Wall", "-Wextra", "-Werror")


def compile_all(folder, extra=(), machine=""):
    """Build an export without CMake, for this machine or with a cross compiler; return the program of its test."""
    cc = [f"{machine}-linux-gnu-gcc", "-static"] if machine else list(find_compiler().command)
    name = next(folder.glob("*_portable.c")).name.removesuffix("_portable.c")
    targets = [one for one in targets_of(machine) if (folder / f"{name}_{one.name}.c").exists()]
    for target in targets:
        command = [*cc, *FLAGS, *extra, *target.flags, "-c", f"{name}_{target.name}.c"]
        subprocess.run(command, cwd=folder, check=True, timeout=300)
    objects = [f"{name}_{target.name}.o" for target in targets]
    subprocess.run(
        [
            *cc,
            *FLAGS,
            *extra,
            f"{name}.c",
            f"{name}_weights.c",
            "test.c",
            *objects,
            "-o",
            "golden_test",
            "-lm",
        ],
        cwd=folder,
        check=True,
        timeout=300,
    )
    return folder / "golden_test"


@pytest.mark.parametrize("name", ["conv1d", "fixed-batch", "no-batch", "embedding"])
def test_export_passes_its_own_test_without_warnings(bundle_of, tmp_path, name):
    program = compile_all(export_c(bundle_of(name), tmp_path / "c").folder)
    done = subprocess.run([program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "portable" in done.stdout


@pytest.mark.skipif(shutil.which("qemu-x86_64") is None, reason="needs qemu-x86_64 (Debian's qemu-user)")
@pytest.mark.parametrize(
    ("processor", "targets"), [("Haswell", ["avx2", "portable"]), ("Nehalem", ["portable"])]
)
def test_export_passes_its_own_test_on_older_processors(bundle_of, tmp_path, processor, targets):
    program = compile_all(export_c(bundle_of("conv1d"), tmp_path / "c").folder)
    done = subprocess.run(
        ["qemu-x86_64", "-cpu", processor, program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [one.name for one in NATIVE_TARGETS if one.name in done.stdout] == targets


@pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in ("aarch64-linux-gnu-gcc", "qemu-aarch64")),
    reason="needs aarch64-linux-gnu-gcc and qemu-aarch64 (Debian's gcc-aarch64-linux-gnu and qemu-user)",
)
@pytest.mark.parametrize("name", ["conv1d", "deep-jet", "attention"])
def test_export_passes_its_own_test_on_arm(bundle_of, tmp_path, name):
    program = compile_all(export_c(bundle_of(name), tmp_path / "c").folder, machine="aarch64")
    done = subprocess.run(["qemu-aarch64", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert [one.name for one in NATIVE_TARGETS if one.name in done.stdout] == ["neon", "portable"]


@pytest.mark.slow
def test_export_is_clean_under_the_sanitizers(bundle_of, tmp_path):
    extra = ("-O0", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    program = compile_all(export_c(bundle_of("deep-jet"), tmp_path / "c").folder, extra)
    done = subprocess.run([program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_wrong_weights_fail_the_test(bundle_of, tmp_path):
    folder = export_c(bundle_of("dense"), tmp_path / "c").folder
    file = folder / "dense_weights.c"
    head, begin, tail = file.read_text().partition("= {{\n")
    values = tail.split(",")  # among them are tables that split batches, of small integers
    changed = f"{np.float32(3.0).view(np.uint32):#x}"
    file.write_text(f"{head}{begin}{','.join(re.sub('0x[0-9a-f]{8}', changed, one) for one in values)}")
    done = subprocess.run([compile_all(folder)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("dense: score")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake")
def test_cmake_builds_the_export_and_ctest_passes(bundle_of, tmp_path):
    folder = tmp_path / "c"
    done = CliRunner().invoke(app, ["export", str(bundle_of("conv1d").path), "--to", "c", "-o", str(folder)])
    assert done.exit_code == 0, done.output
    for command in (
        ["cmake", "-S", ".", "-B", "build"],
        ["cmake", "--build", "build"],
        ["ctest", "--test-dir", "build"],
    ):
        built = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
        assert built.returncode == 0, built.stderr
        assert "warning" not in built.stderr


def test_header_names_shapes_and_the_origin_of_the_model(parse_model, tmp_path):
    model = parse_model("""m (float[N, 12] x) => (float[N, 1] score) { score = MatMul (x, w) }""", w=(12, 1))
    model.graph.input[0].name = model.graph.node[0].input[0] = "x.jets"
    bundle = pack(model, tmp_path / "3-jets.tamis").bundle
    folder = export_c(bundle, tmp_path / "c").folder
    header = (folder / "m3_jets.h").read_text()
    assert "void m3_jets(const float *x_jets, float *score, size_t events, void *scratch);" in header
    assert "x_jets: 12 floats per event ('x.jets' of the model)" in header
    assert bundle.manifest.files["model.onnx"].sha256 in header
    assert 'extern "C"' in header
    assert "ctest" in (folder / "README.md").read_text()


def test_code_is_generated_for_the_requested_sizes_and_targets(parse_model, tmp_path):
    model = parse_model(
        """m (float[N, n, 3] x) => (float[N, 3] score) { score = ReduceMean <axes = [1], keepdims = 0> (x) }"""
    )
    bundle = pack(model, tmp_path / "jets.tamis", dims={"n": 5}).bundle
    folder = tmp_path / "c"
    arguments = [
        "export",
        str(bundle.path),
        "--to",
        "c",
        "-o",
        str(folder),
        "--dims",
        "n=40",
        "--instructions",
        "avx2",
    ]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "x: 40 x 3 floats per event" in (folder / "jets.h").read_text()
    assert sorted(path.name for path in folder.glob("jets_*.c")) == [
        "jets_avx2.c",
        "jets_portable.c",
        "jets_weights.c",
    ]
    ran = subprocess.run([compile_all(folder)], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    with pytest.raises(UsageError, match="avx5"):
        export_c(bundle, tmp_path / "d", instructions=["avx5"])
    with pytest.raises(UsageError, match="no free dimension 'm'"):
        export_c(bundle, tmp_path / "d", dims={"m": [3]})


def test_c_names_are_distinct_and_not_keywords():
    assert identifier("float") == "float_2"
    assert identifier("/out/logits") == "out_logits"
    assert identifier("µ") == "model"
    assert identifiers(["a.b", "a/b", "events"]) == ["a_b", "a_b_2", "events_2"]


def test_folder_with_files_is_not_overwritten(bundle_of, tmp_path):
    (tmp_path / "mine").write_text("")
    with pytest.raises(UsageError, match="exists and is not an empty folder"):
        export_c(bundle_of("dense"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_unsupported_model_is_rejected_and_nothing_is_written(parse_model, tmp_path):
    model = parse_model("""m (double[N, 4] x) => (double[N, 4] y) { y = Relu (x) }""")
    with pytest.raises(ModelError, match="'x' is float64"):
        export_c(pack(model, tmp_path / "m.tamis").bundle, tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_triton_options_are_rejected_for_c(bundle_of, tmp_path):
    arguments = [
        "export",
        str(bundle_of("dense").path),
        "--to",
        "c",
        "-o",
        str(tmp_path / "c"),
        "--instances",
        "2",
    ]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code != 0
    assert "--instances is for --to triton" in f"{done.output}{done.exception}"


@pytest.mark.parametrize(
    ("step", "text"), [("graph", "Gemm(x"), ("ir", "weights(12 x 8)"), ("c", "void tamis_run(")]
)
def test_inspect_prints_each_step_of_the_compiler(bundle_of, step, text):
    done = CliRunner().invoke(app, ["inspect", str(bundle_of("dense").path), "--emit", step])
    assert done.exit_code == 0, done.output
    assert text in done.output


def test_inspect_emit_is_rejected_for_files(tmp_path):
    (tmp_path / "x.json").write_text(json.dumps({}))
    done = CliRunner().invoke(app, ["inspect", str(tmp_path / "x.json"), "--emit", "ir"])
    assert "--emit needs a bundle" in f"{done.output}{done.exception}"
