"""A bundle as C: it builds without warnings, passes its own test, and is called from C and C++."""

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
from tamis.cli.app import app
from tamis.native.build import find_compiler
from tamis.native.cut import HEADER
from tamis.native.export import export_c
from tamis.native.export.names import identifier, identifiers

FLAGS = (
    "-std=c11",
    "-O1",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-ffp-contract=off",
    "-fno-delete-null-pointer-checks",
)
LEVELS = {
    "avx512": ["-mavx2", "-mfma", "-mavx512f", "-mavx512dq", "-mavx512vl", "-mavx512bw"],
    "avx2": ["-mavx2", "-mfma"],
    "portable": [],
}


def compile_all(folder, extra=()):
    """Build an export by hand, as one would who has a build system of his own; return the program of its test."""
    cc = list(find_compiler().command)
    name = next(folder.glob("*_portable.c")).name.removesuffix("_portable.c")
    levels = {level: flags for level, flags in LEVELS.items() if (folder / f"{name}_{level}.c").exists()}
    for level, flags in levels.items():
        subprocess.run(
            [*cc, *FLAGS, *extra, *flags, "-c", f"{name}_{level}.c"], cwd=folder, check=True, timeout=300
        )
    objects = [f"{name}_{level}.o" for level in levels]
    subprocess.run(
        [*cc, *FLAGS, *extra, f"{name}.c", "test.c", *objects, "-o", "golden_test", "-lm"],
        cwd=folder,
        check=True,
        timeout=300,
    )
    return folder / "golden_test"


@pytest.mark.parametrize("name", ["conv1d", "fixed-batch", "no-batch", "embedding"])
def test_an_export_passes_its_own_test_without_a_warning(bundle_of, tmp_path, name):
    program = compile_all(export_c(bundle_of(name), tmp_path / "c"))
    done = subprocess.run([program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "portable" in done.stdout


@pytest.mark.skipif(shutil.which("qemu-x86_64") is None, reason="needs qemu-x86_64 (Debian's qemu-user)")
@pytest.mark.parametrize(
    ("processor", "levels"), [("Haswell", ["avx2", "portable"]), ("Nehalem", ["portable"])]
)
def test_an_export_passes_its_own_test_on_processors_of_other_instruction_sets(
    bundle_of, tmp_path, processor, levels
):
    program = compile_all(export_c(bundle_of("conv1d"), tmp_path / "c"))
    done = subprocess.run(
        ["qemu-x86_64", "-cpu", processor, program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert [level for level in LEVELS if level in done.stdout] == levels


@pytest.mark.slow
def test_an_export_is_clean_under_the_sanitizers(bundle_of, tmp_path):
    extra = ("-O0", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    program = compile_all(export_c(bundle_of("deep-jet"), tmp_path / "c"), extra)
    done = subprocess.run([program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_wrong_weights_fail_the_test(bundle_of, tmp_path):
    folder = export_c(bundle_of("dense"), tmp_path / "c")
    file = folder / "dense_portable.c"
    head, _, tail = file.read_text().partition("weights __attribute__((aligned(64))) = {{\n")
    body, brace, rest = tail.partition("}}")
    values = body.split(",")  # the table of how batches are cut comes first
    changed = f"{np.float32(3.0).view(np.uint32):#x}"
    values[HEADER:] = [re.sub("0x[0-9a-f]+", changed, one) for one in values[HEADER:]]
    file.write_text(f"{head}weights __attribute__((aligned(64))) = {{{{\n{','.join(values)}{brace}{rest}")
    done = subprocess.run([compile_all(folder)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("portable: score")


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake")
def test_cmake_builds_it_and_ctest_passes(bundle_of, tmp_path):
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


def test_the_header_tells_shapes_units_and_where_it_comes_from(parse_model, tmp_path):
    model = parse_model("""m (float[N, 12] x) => (float[N, 1] score) { score = MatMul (x, w) }""", w=(12, 1))
    model.graph.input[0].name = model.graph.node[0].input[0] = "x.jets"
    bundle = pack(model, tmp_path / "3-jets.tamis").bundle
    folder = export_c(bundle, tmp_path / "c")
    header = (folder / "m3_jets.h").read_text()
    assert "void m3_jets(const float *x_jets, float *score, size_t events, void *scratch);" in header
    assert "x_jets: 12 floats per event ('x.jets' of the model)" in header
    assert bundle.manifest.files["model.onnx"].sha256 in header
    assert 'extern "C"' in header
    assert "ctest" in (folder / "README.md").read_text()


def test_code_is_written_for_the_sizes_and_instructions_that_are_asked_for(parse_model, tmp_path):
    model = parse_model(
        """m (float[N, n, 3] x) => (float[N, 3] score) { score = ReduceMean <axes = [1], keepdims = 0> (x) }"""
    )
    bundle = pack(model, tmp_path / "jets.tamis", dims={"n": 5}).bundle
    folder = tmp_path / "c"
    given = [
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
    done = CliRunner().invoke(app, given)
    assert done.exit_code == 0, done.output
    assert "x: 40 x 3 floats per event" in (folder / "jets.h").read_text()
    assert sorted(path.name for path in folder.glob("jets_*.c")) == ["jets_avx2.c", "jets_portable.c"]
    ran = subprocess.run([compile_all(folder)], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    with pytest.raises(UsageError, match="avx5"):
        export_c(bundle, tmp_path / "d", instructions=["avx5"])
    with pytest.raises(UsageError, match="no free dimension 'm'"):
        export_c(bundle, tmp_path / "d", dims={"m": 3})


def test_names_in_c_are_no_keywords_and_differ():
    assert identifier("float") == "float_2"
    assert identifier("/out/logits") == "out_logits"
    assert identifier("µ") == "model"
    assert identifiers(["a.b", "a/b", "events"]) == ["a_b", "a_b_2", "events_2"]


def test_a_folder_with_something_in_it_is_left_alone(bundle_of, tmp_path):
    (tmp_path / "mine").write_text("")
    with pytest.raises(UsageError, match="is there already"):
        export_c(bundle_of("dense"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_what_cannot_be_compiled_is_refused_and_nothing_is_written(parse_model, tmp_path):
    model = parse_model("""m (double[N, 4] x) => (double[N, 4] y) { y = Relu (x) }""")
    with pytest.raises(ModelError, match="'x' is float64"):
        export_c(pack(model, tmp_path / "m.tamis").bundle, tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_options_of_triton_are_refused_for_c(bundle_of, tmp_path):
    given = [
        "export",
        str(bundle_of("dense").path),
        "--to",
        "c",
        "-o",
        str(tmp_path / "c"),
        "--instances",
        "2",
    ]
    done = CliRunner().invoke(app, given)
    assert done.exit_code != 0
    assert "--instances is for --to triton" in f"{done.output}{done.exception}"


@pytest.mark.parametrize(
    ("step", "told"), [("graph", "Gemm(x"), ("ir", "weights(12 x 8)"), ("c", "void tamis_run(")]
)
def test_each_step_of_the_compiler_can_be_looked_at(bundle_of, step, told):
    done = CliRunner().invoke(app, ["inspect", str(bundle_of("dense").path), "--emit", step])
    assert done.exit_code == 0, done.output
    assert told in done.output


def test_a_file_has_no_steps_to_look_at(tmp_path):
    (tmp_path / "x.json").write_text(json.dumps({}))
    done = CliRunner().invoke(app, ["inspect", str(tmp_path / "x.json"), "--emit", "ir"])
    assert "--emit is for bundles" in f"{done.output}{done.exception}"
