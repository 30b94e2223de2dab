"""Exported functions take sizes and ragged batches at run time, and give the bits of the engine `native` in Python."""

from __future__ import annotations

import ctypes
import itertools
import subprocess

import numpy as np
import pytest
from click.testing import CliRunner
from onnx import numpy_helper

import tamis
from tamis._base import ModelError, UsageError
from tamis.bundle import pack
from tamis.cbuild import NUMERIC_FLAGS, find_compiler
from tamis.cli.app import app
from tamis.native.export import export_c
from tamis.native.targets import host_target, targets_of

MODELS = {
    # particles along two axes of inputs, an output of each particle, and one of each jet
    "weighted": """(float[N, n, 3] x, float[N, 2, n] points, float[N, 4] jet) => (float[N, 5] score, float[N, 2, n] shares) {
        h = MatMul (x, w)
        far = Transpose <perm = [0, 2, 1]> (points)
        g = Add (h, far)
        p = Softmax <axis = 1> (g)
        shares = Transpose <perm = [0, 2, 1]> (p)
        mean = ReduceMean <axes = [1], keepdims = 0> (p)
        both = Concat <axis = 1> (mean, jet)
        score = MatMul (both, v)
    }""",
    # two kinds of particles, and numbers of pairs of one that are not a product of sizes
    "pair": """(float[N, a, 3] x, float[N, 2, b] y) => (float[N, 3] score, float[N, pieces] rest) {
        mx = ReduceMean <axes = [1], keepdims = 0> (x)
        my = ReduceMean <axes = [2], keepdims = 0> (y)
        both = Concat <axis = 1> (mx, my)
        score = MatMul (both, w)
        flat = ReduceSum <keepdims = 1> (y, middle)
        p = MaxPool <kernel_shape = [2], strides = [2], ceil_mode = 1> (flat)
        rest = Squeeze (p, middle)
    }""",
    # each particle with its three nearest ones, of at least three
    "nearest": """(float[N, 4, n] x) => (float[N, 16] y) {
        xt = Transpose <perm = [0, 2, 1]> (x)
        d = MatMul (xt, x)
        v, i = TopK <axis = -1> (d, three)
        s = ReduceSum <keepdims = 0> (v, last)
        u = Unsqueeze (s, one)
        c = Concat <axis = 1> (x, u)
        k = Conv <kernel_shape = [1]> (c, w)
        r = Relu (k)
        y = ReduceMax <axes = [2], keepdims = 0> (r)
    }""",
}
WEIGHTS = {"weighted": {"w": (3, 2), "v": (6, 5)}, "nearest": {"w": (16, 5, 1)}, "pair": {"w": (5, 3)}}
INTEGERS = {"weighted": {}, "nearest": {"three": 3, "last": -1, "one": 1}, "pair": {"middle": 1}}
ONE_SIZE = ["weighted", "nearest"]
OK, BAD_SIZE, BAD_OFFSETS = 0, 1, 2


@pytest.fixture(scope="module")
def made(tmp_path_factory, parse_model):
    """Return a function that packs and exports a model once."""
    found = {}

    def make(kind):
        if kind not in found:
            folder = tmp_path_factory.mktemp(kind)
            model = parse_model(f"{kind} {MODELS[kind]}", **WEIGHTS[kind])
            for name, value in INTEGERS[kind].items():
                model.graph.initializer.append(numpy_helper.from_array(np.array([value]), name))
            bundle = pack(
                model, folder / f"{kind}.tamis", dims={"a": 2, "b": 5} if kind == "pair" else {"n": 11}
            ).bundle
            instructions = [host_target().name]
            dims = {"a": [1, 2, 5], "b": [1, 4, 5]} if kind == "pair" else {}
            found[kind] = bundle, export_c(bundle, folder / "c", dims=dims, instructions=instructions).folder
        return found[kind]

    return make


def library_of(folder, name):
    """Build an export as a shared library."""
    cc = [*find_compiler().command, "-std=c11", *NUMERIC_FLAGS, "-Wall", "-Wextra", "-Werror", "-fPIC", "-c"]
    targets = [one for one in targets_of() if (folder / f"{name}_{one.name}.c").exists()]
    for source, flags in [
        (name, ()),
        (f"{name}_weights", ()),
        *((f"{name}_{one.name}", one.flags) for one in targets),
    ]:
        subprocess.run([*cc, *flags, f"{source}.c"], cwd=folder, check=True, timeout=300)
    objects = [f"{name}_{one.name}.o" for one in targets]
    subprocess.run(
        [*find_compiler().command, "-shared", f"{name}.o", f"{name}_weights.o", *objects, "-o", "model.so", "-lm"],
        cwd=folder, check=True, timeout=300,
    )  # fmt: skip
    return ctypes.CDLL(str(folder / "model.so"))


class Exported:
    """The functions of an export, on arrays."""

    def __init__(self, bundle, folder):
        self.name, self.signature = bundle.name, bundle.manifest.signature
        self.library = library_of(folder, self.name)
        size = getattr(self.library, f"{self.name}_scratch_size")
        size.restype = ctypes.c_size_t
        self.scratch = ctypes.create_string_buffer(b"\xff" * size(), size())

    def admits(self, n):
        return bool(getattr(self.library, f"{self.name}_admits")(ctypes.c_size_t(n)))

    def run(self, arrays, n):
        events = len(arrays[0])
        shapes = [[{"N": events, "n": n}.get(d, d) for d in spec.shape] for spec in self.signature.outputs]
        return self._call(self.name, arrays, shapes, [events, n])

    def run_ragged(self, arrays, offsets, total=None):
        events, total = len(offsets) - 1, int(offsets[-1]) if total is None else total
        shapes = [
            [{"n": total}.get(d, d) for d in spec.shape[1:]]
            if "n" in spec.shape
            else [events, *spec.shape[1:]]
            for spec in self.signature.outputs
        ]
        kept = np.array(offsets, np.uint64)
        return self._call(f"{self.name}_ragged", arrays, shapes, [kept, total, events])

    def _call(self, name, arrays, shapes, more):
        outputs = [np.full(shape, 7, np.float32) for shape in shapes]
        kept = [np.ascontiguousarray(one, np.float32) for one in arrays]
        arguments = [
            ctypes.c_void_p(one.ctypes.data) if isinstance(one, np.ndarray) else ctypes.c_size_t(one)
            for one in [*kept, *outputs, *more]
        ]
        return getattr(self.library, name)(*arguments, self.scratch), outputs


@pytest.fixture(scope="module")
def exported(made):
    found = {}

    def open_export(kind):
        if kind not in found:
            found[kind] = Exported(*made(kind))
        return found[kind]

    return open_export


def drawn(signature, rng, **sizes):
    """Return inputs with these sizes; without N, of a ragged batch."""
    return [
        rng.normal(size=[sizes.get(d, d) for d in (spec.shape if "N" in sizes else spec.shape[1:])]).astype(
            np.float32
        )
        for spec in signature.inputs
    ]


def assert_same_bits(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one.view(np.uint32), np.ascontiguousarray(other).view(np.uint32))


@pytest.mark.parametrize("kind", ONE_SIZE)
def test_every_size_has_the_bits_of_python(kind, made, exported):
    bundle, code, rng = made(kind)[0], exported(kind), np.random.default_rng(1)
    least = 3 if kind == "nearest" else 1
    assert [code.admits(n) for n in (0, least - 1, least, 128, 129)] == [False, False, True, True, False]
    with tamis.open(bundle, "native") as session:
        for n in (least, least + 1, 8, 11, 16, 17, 31, 33, 64, 127, 128):
            inputs = drawn(bundle.manifest.signature, rng, N=5, n=n)
            inputs[0][3].flat[n] = np.nan  # one event has a NaN
            status, found = code.run(inputs, n)
            assert status == OK
            assert_same_bits(found, session.run(*inputs).values())
            assert np.isnan(found[0]).all(axis=1).tolist() == [False, False, False, True, False]
            assert_same_bits(code.run([one[:1] for one in inputs], n)[1], [one[:1] for one in found])


@pytest.mark.parametrize("kind", ONE_SIZE)
def test_a_ragged_batch_has_the_bits_of_python(kind, made, exported):
    bundle, code, rng = made(kind)[0], exported(kind), np.random.default_rng(2)
    sizes = [128, 3, 0, 17, 128, 4, 0, 0, 31, 3, 0]
    offsets = np.cumsum([0, *sizes])
    total = int(offsets[-1])
    inputs = [
        one if "n" in spec.shape else rng.normal(size=(len(sizes), *spec.shape[1:])).astype(np.float32)
        for spec, one in zip(
            bundle.manifest.signature.inputs, drawn(bundle.manifest.signature, rng, n=total), strict=True
        )
    ]
    names = [spec.name for spec in bundle.manifest.signature.inputs]
    with tamis.open(bundle, "native") as session:
        expected = session.run_ragged(offsets, **dict(zip(names, inputs, strict=True)))
    status, found = code.run_ragged(inputs, offsets)
    assert status == OK
    assert_same_bits(found, expected.values())
    status, found = code.run_ragged(
        [one[:0] if len(one) == len(sizes) else one[..., :0] for one in inputs], [0]
    )
    assert status == OK
    assert found[0].size == 0


def test_several_free_dimensions_are_several_parameters(made, exported):
    bundle, folder = made("pair")
    code, rng = exported("pair"), np.random.default_rng(6)
    assert (
        "int pair(const float *x, const float *y, float *score, float *rest, size_t events, size_t a, size_t b,"
        in (folder / "pair.h").read_text()
    )
    assert (
        "There is no function for ragged batches, since rest does not have one free axis."
        in (folder / "README.md").read_text()
    )
    admits = code.library.pair_admits
    assert [admits(ctypes.c_size_t(a), ctypes.c_size_t(b)) for a, b in ((1, 1), (5, 4), (4, 5), (1, 2))] == [
        1,
        1,
        0,
        0,
    ]
    rest_floats = code.library.pair_rest_floats
    with tamis.open(bundle, "native", dims={"a": [1, 2, 5], "b": [1, 4, 5]}) as session:
        for a, b in itertools.product((1, 2, 5), (1, 4, 5)):
            assert rest_floats(ctypes.c_size_t(a), ctypes.c_size_t(b)) == (b + 1) // 2
            inputs = drawn(bundle.manifest.signature, rng, N=3, a=a, b=b)
            status, found = code._call("pair", inputs, [(3, 3), (3, (b + 1) // 2)], [3, a, b])
            assert status == OK
            assert_same_bits(found, session.run(*inputs).values())


def test_sizes_are_fixed_where_code_for_all_is_impossible(made, tmp_path):
    written = export_c(made("pair")[0], tmp_path / "c", instructions=["portable"])
    assert "several free dimensions, a, b: name their sizes with --dims" in written.why_fixed
    assert written.why_fixed in (tmp_path / "c" / "README.md").read_text()
    assert "void pair(" in (tmp_path / "c" / "pair.h").read_text()


def test_the_command_takes_a_range_of_sizes_and_says_which(made, tmp_path):
    folder = tmp_path / "c"
    options = ["--to", "c", "-o", str(folder), "--dims", "n=1..7", "--instructions", "portable"]
    done = CliRunner().invoke(app, ["export", str(made("nearest")[0].path), *options])
    assert done.exit_code == 0, done.output
    assert "nearest() takes events of n 3 to 7" in done.output
    assert "enum { NEAREST_N_MIN = 3, NEAREST_N_MAX = 7 };" in (folder / "nearest.h").read_text()


@pytest.mark.parametrize(
    ("offsets", "total", "status"),
    [
        ([0, 5, 9], 9, OK),
        ([0, 5, 9], 8, BAD_OFFSETS),
        ([0, 5, 9], 10, BAD_OFFSETS),
        ([1, 5, 9], 9, BAD_OFFSETS),
        ([0, 10, 9], 9, BAD_OFFSETS),
        ([0, 2**63, 9], 9, BAD_OFFSETS),
        ([0, 129, 140], 140, BAD_SIZE),
    ],
)
def test_wrong_offsets_and_sizes_are_refused_and_nothing_is_written(made, exported, offsets, total, status):
    bundle, code = made("weighted")[0], exported("weighted")
    rng = np.random.default_rng(3)
    inputs = drawn(bundle.manifest.signature, rng, n=total)
    inputs[2] = np.zeros((2, 4), np.float32)
    found, outputs = code.run_ragged(inputs, offsets, total)
    assert found == status
    assert all((one == 7).all() for one in outputs) == (status != OK)
    refused, outputs = code.run(drawn(bundle.manifest.signature, rng, N=1, n=129), 129)
    assert refused == BAD_SIZE
    assert all((one == 7).all() for one in outputs)


def test_dims_name_the_sizes_that_are_taken(made, tmp_path):
    bundle = made("nearest")[0]
    written = export_c(
        bundle, tmp_path / "c", dims={"n": [1, 2, 3, 4, 5, 200]}, instructions=[host_target().name]
    )
    assert written.sizes == "n 3 to 200"
    code, rng = Exported(bundle, written.folder), np.random.default_rng(5)
    assert [n for n in range(1000) if code.admits(n)] == [3, 4, 5, 200]
    with tamis.open(bundle, "native", dims={"n": [200]}) as session:
        for n in (4, 200):
            inputs = drawn(bundle.manifest.signature, rng, N=2, n=n)
            assert_same_bits(code.run(inputs, n)[1], session.run(*inputs).values())
    with pytest.raises(ModelError, match="nearest takes no events of the sizes of n in dims"):
        export_c(bundle, tmp_path / "d", dims={"n": [1, 2]})
    with pytest.raises(UsageError, match="no free dimension 'particles'"):
        export_c(bundle, tmp_path / "d", dims={"particles": [1, 2]})


def test_weights_are_one_array_for_all_instruction_sets(bundle_of, tmp_path):
    bundle = bundle_of("dense")
    folder = export_c(bundle, tmp_path / "c").folder
    holders = [
        path.name
        for path in folder.glob("*.c")
        if "float numbers[" in path.read_text() and "= {{" in path.read_text()
    ]
    assert holders == ["dense_weights.c"]
    weights = sum(np.prod(one.dims) for one in bundle.model.graph.initializer)
    assert (folder / "dense_weights.c").read_text().count("0x") < 2 * weights + 200


def test_the_export_of_several_sizes_passes_its_own_test(made):
    folder = made("weighted")[1]
    flags = [
        "-std=c11",
        *NUMERIC_FLAGS,
        "-O1",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all",
    ]
    sources = [
        one for one in sorted(folder.glob("*.c"))
        if not any(one.name == f"weighted_{target.name}.c" for target in targets_of() if target.flags)
    ]  # fmt: skip
    vectors = [(folder / f"weighted_{one.name}.c", one.flags) for one in targets_of() if one.flags]
    for source, more in vectors:
        if source.exists():
            subprocess.run(
                [*find_compiler().command, *flags, *more, "-c", source, "-o", folder / "vectors.o"],
                check=True,
                timeout=300,
            )
    objects = [folder / "vectors.o"] if any(source.exists() for source, _ in vectors) else []
    subprocess.run(
        [*find_compiler().command, *flags, *sources, *objects, "-o", folder / "own_test", "-lm"],
        check=True,
        timeout=300,
    )
    done = subprocess.run([folder / "own_test"], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "ragged" in done.stdout
