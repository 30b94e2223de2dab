"""The C++ class of an export compiles strictly, and answers wrong arguments with a status."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys

import pytest

from tamis.bundle import pack
from tamis.cbuild import NUMERIC_FLAGS
from tamis.native.export import export_c
from tamis.native.targets import targets_of

STRICT = [
    "-Wall",
    "-Wextra",
    "-Wpedantic",
    "-Werror",
    "-Wconversion",
    "-Wshadow",
    "-fno-exceptions",
    "-fno-rtti",
]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
PROGRAM = """#include "pooled.hpp"
#include <cmath>
#include <cstdio>
#include <cstring>
#include <thread>
#if __cplusplus >= 202002L
#include <span>
#endif
#include <array>
#include <vector>

static_assert(tamis::pooled::sizes[0].smallest == 1 && tamis::pooled::sizes[0].largest == 128);
static_assert(tamis::pooled::inputs[0].shape[0] == 'n');
static_assert(sizeof(tamis::pooled::inputs) / sizeof(tamis::Tensor) == 2);
static_assert(noexcept(tamis::pooled::run({}, {}, 1)));
static_assert(noexcept(tamis::pooled::run_ragged({}, {}, {})));
static_assert(!std::is_convertible_v<const std::vector<float> &, tamis::span<float>>);
static_assert(!std::is_convertible_v<std::vector<double> &, tamis::span<const float>>);

using tamis::Status;
using tamis::pooled;

static int failures = 0;
static void expect(Status found, Status expected, int line) {
    if (found != expected) std::printf("line %d: %s\\n", line, tamis::message(found)), ++failures;
}
#define EXPECT(call, status) expect(call, Status::status, __LINE__)

static void many_times(float *score) {
    const std::vector<float> x(3 * 40, 0.5f), jet{1, 2};
    for (int i = 0; i < 200; ++i)
        if (pooled::run({x, jet}, {{score, 5}}, 40) != Status::ok) std::abort();
}

int main() {
    const std::vector<float> x{1, 2, 3, 4, 5, 6}, jet{1, 2};
    std::array<float, 5> score{}, again{};
    pooled::Workspace workspace;
    EXPECT(pooled::run({x, jet}, {score}, 2), ok);
    EXPECT(pooled::run({x, jet}, {again}, 2, workspace), ok);
    if (std::memcmp(score.data(), again.data(), sizeof score) || !std::isfinite(score[0])) return 3;
    EXPECT(pooled::run({x, jet}, {score}, 1), bad_length);
    EXPECT(pooled::run({x, jet}, {score}, 4), bad_length);
    EXPECT(pooled::run({x, {}}, {score}, 2), bad_length);
    EXPECT(pooled::run({x, jet}, {{score.data(), 4}}, 2), bad_length);
    EXPECT(pooled::run({x, jet}, {score}, 0), bad_size);
    EXPECT(pooled::run({x, jet}, {score}, 129), bad_size);
    EXPECT(pooled::run({}, {}, 7), ok);

    std::size_t offsets[] = {0, 2, 2};
    const float jets[] = {1, 2, 3, 4};
    std::vector<float> scores(10);
    EXPECT(pooled::run_ragged({x, jets}, {scores}, offsets), ok);
    if (std::memcmp(scores.data(), score.data(), sizeof score) || !std::isnan(scores[5])) return 4;
    EXPECT(pooled::run_ragged({x, jets}, {scores}, {}), bad_offsets);
    EXPECT(pooled::run_ragged({{x.data(), 3}, jets}, {scores}, offsets), bad_length);
    for (std::size_t wrong : {std::size_t{3}, std::size_t{1} << 62, ~std::size_t{0}}) {
        offsets[1] = wrong;
        EXPECT(pooled::run_ragged({x, jets}, {scores}, offsets), bad_offsets);
    }
    offsets[1] = 2;
    for (std::size_t wrong : {std::size_t{1}, std::size_t{3}, std::size_t{1} << 62, ~std::size_t{0}}) {
        offsets[2] = wrong;
        EXPECT(pooled::run_ragged({x, jets}, {scores}, offsets), bad_length);
    }
#if __cplusplus >= 202002L
    EXPECT(pooled::run({std::span<const float>(x), std::span(jet)}, {std::span(score)}, 2), ok);
#endif
    float first[5], second[5];
    std::thread other(many_times, first);
    many_times(second);
    other.join();
    return std::memcmp(first, second, sizeof first) ? 5 : failures;
}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory, parse_model):
    """Return the export of a model with a mean over particles, with an object of each of its sources."""
    model = parse_model(
        """pooled (float[N, n, 3] x, float[N, 2] jet) => (float[N, 5] score) {
            h = MatMul (x, w)
            r = Relu (h)
            mean = ReduceMean <axes = [1], keepdims = 0> (r)
            score = Concat <axis = 1> (mean, jet)
        }""",
        w=(3, 3),
    )
    made = tmp_path_factory.mktemp("wrapper")
    bundle = pack(model, made / "pooled.tamis", dims={"n": 11}).bundle
    return export_c(bundle, made / "c", instructions=["avx2", "neon"]).folder


@pytest.fixture(scope="module")
def objects(folder):
    """Return the objects of the export, with sanitizers."""
    flags = {f"pooled_{one.name}.c": one.flags for one in targets_of()}
    sources = [
        path.name
        for path in folder.glob("pooled*.c")
        if path.name in (*flags, "pooled.c", "pooled_weights.c")
    ]
    for name in sources:
        run(["gcc", *NUMERIC_FLAGS, *flags.get(name, ()), *SANITIZERS, "-std=c11", "-O1", "-c", name], folder)
    return [name.replace(".c", ".o") for name in sources]


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
@pytest.mark.parametrize("standard", ["c++17", "c++20"])
def test_wrong_arguments_give_a_status(folder, objects, standard):
    (folder / "main.cpp").write_text(PROGRAM)
    command = ["g++", f"-std={standard}", "-O1", *STRICT, *SANITIZERS]
    run([*command, "main.cpp", *objects, "-o", standard, "-pthread", "-lm"], folder)
    run([folder / standard], folder)


@pytest.mark.skipif(importlib.util.find_spec("ziglang") is None, reason="needs ziglang")
@pytest.mark.parametrize("standard", ["c++17", "c++20"])
def test_clang_has_no_warnings(folder, standard):
    (folder / "main.cpp").write_text(PROGRAM)
    clang = [sys.executable, "-m", "ziglang", "c++"]  # linking would build its library of C++: minutes
    run([*clang, f"-std={standard}", *STRICT, "-c", "main.cpp", "-o", "clang.o"], folder)


def run(command, folder):
    done = subprocess.run(
        list(map(str, command)), cwd=folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
