"""The example projects in C++ build against installed packages and give the bits of the engine `native` in Python."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import tamis
from tamis.bundle import Bundle, pack
from tamis.native.export import export_c

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("cmake") is None or shutil.which("c++") is None, reason="needs cmake and c++"
    ),
]
EXAMPLES = Path(__file__).parents[3] / "examples" / "cpp"
TAGGER = """tagger (float[N, 4, n] constituents, float[N, 3] jet) => (float[N, 3] probabilities) {
    h = Conv <kernel_shape = [1]> (constituents, w1)
    r = Relu (h)
    h2 = Conv <kernel_shape = [1]> (r, w2)
    r2 = Relu (h2)
    mean = ReduceMean <axes = [2], keepdims = 0> (r2)
    most = ReduceMax <axes = [2], keepdims = 0> (r2)
    both = Concat <axis = 1> (mean, most, jet)
    z = MatMul (both, w3)
    probabilities = Softmax <axis = 1> (z)
}"""
WEIGHTS = {"w1": (16, 4, 1), "w2": (24, 16, 1), "w3": (51, 3)}
COUNTS = [[1, 128], [], [2, 9, 31], [32, 33, 100, 127], [64], [128, 1, 1, 17], [3], [16, 15], [5, 5, 5]]


def run(*command: object, expected: int = 0) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == expected, f"{command}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    assert "warning" not in done.stderr
    return done.stdout + done.stderr


def build(source: Path, folder: Path, *options: str, prefix: Path, install: bool = False) -> Path:
    """Configure and build a project; install it where it is a package."""
    run(
        "cmake",
        "-S",
        source,
        "-B",
        folder,
        f"-DCMAKE_PREFIX_PATH={prefix}",
        "-DCMAKE_BUILD_TYPE=Release",
        *options,
    )
    run("cmake", "--build", folder, "-j", "2")
    if install:
        run("cmake", "--install", folder, "--prefix", prefix)
    return folder


def event_file(path: Path, rng: np.random.Generator) -> list[dict[str, np.ndarray]]:
    """Write the events that the examples read; return their arrays."""
    golden, events = Bundle.open("facile").golden.inputs["channels"], []
    with path.open("wb") as out:
        for number, counts in enumerate(COUNTS):
            event = {
                "offsets": np.cumsum([0, *counts]),
                "constituents": rng.normal(size=(4, sum(counts))).astype(np.float32),
                "jet": rng.normal(size=(len(counts), 3)).astype(np.float32),
                "channels": golden[number : 2 * number],
            }
            events.append(event)
            np.array([len(counts), len(event["channels"]), *counts], np.uint32).tofile(out)
            for name in ("constituents", "jet", "channels"):
                event[name].astype(np.float32).tofile(out)
    return events


@pytest.fixture(scope="module")
def installed(tmp_path_factory, parse_model):
    """Install both packages and write a file of events; return the places and what Python computes."""
    folder = tmp_path_factory.mktemp("cpp")
    bundle = pack(parse_model(TAGGER, **WEIGHTS), folder / "tagger.tamis", dims={"n": 20}).bundle
    for one in (bundle, Bundle.open("facile")):
        written = export_c(one, folder / f"{one.name}_c", instructions=["avx2", "neon"])
        build(written.folder, folder / f"{one.name}_build", prefix=folder / "prefix", install=True)
    run("ctest", "--test-dir", folder / "tagger_build", "--output-on-failure")
    events = event_file(folder / "events.bin", np.random.default_rng(4))
    with tamis.open(bundle, "native") as tagger, tamis.open("facile", "native") as facile:
        tags = [
            tagger.run_ragged(one["offsets"], constituents=one["constituents"], jet=one["jet"])[
                "probabilities"
            ]
            for one in events
        ]
        energies = [facile.run(channels=one["channels"])["energy"] for one in events]
    return SimpleNamespace(
        folder=folder, prefix=folder / "prefix", events=folder / "events.bin", tags=tags, energies=energies
    )


def results(path: Path) -> np.ndarray:
    return np.fromfile(path, np.uint32)


def bits(arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([one.ravel().view(np.uint32) for one in arrays])


def test_a_plain_program_gives_the_bits_of_python(installed):
    folder = build(EXAMPLES / "plain", installed.folder / "plain", prefix=installed.prefix)
    out = installed.folder / "plain.bin"
    run(folder / "score", installed.events, out)
    expected = [one for pair in zip(installed.tags, installed.energies, strict=True) for one in pair]
    np.testing.assert_array_equal(results(out), bits(expected))


def test_a_plugin_like_those_of_cmssw_gives_the_bits_of_python(installed):
    folder = build(EXAMPLES / "cmssw", installed.folder / "cmssw", prefix=installed.prefix)
    out = installed.folder / "cmssw.bin"
    tagged = sum(int((one[:, 0] > np.float32(0.5)).sum()) for one in installed.tags)
    for streams in (1, 4):
        said = run(folder / "cmsRun", folder / "libJetTagPlugins.so", installed.events, out, streams)
        assert said == f"tagger: {tagged} of {sum(map(len, COUNTS))} jets tagged\n"
        np.testing.assert_array_equal(results(out), bits(installed.tags))


def test_an_algorithm_like_those_of_athena_gives_the_bits_of_python(installed):
    folder = build(EXAMPLES / "athena", installed.folder / "athena", prefix=installed.prefix)
    out = installed.folder / "athena.bin"
    for threads in (1, 4):
        said = run(
            folder / "athena", folder / "libJetTagging.so", installed.events, out, threads, "Threshold=2"
        )
        assert "tagger takes jets of 1 to 128 constituents" in said
        assert "JetTagAlg: 0 jets tagged" in said
        np.testing.assert_array_equal(results(out), bits(installed.tags))


def test_a_size_beyond_the_bound_ends_a_job_with_a_message(installed):
    folder = build(EXAMPLES / "cmssw", installed.folder / "cmssw", prefix=installed.prefix)
    events = installed.folder / "large.bin"
    np.concatenate([np.array([1, 0, 129], np.uint32), np.zeros(4 * 129 + 3, np.uint32)]).tofile(events)
    out = installed.folder / "large.out"
    said = run(folder / "cmsRun", folder / "libJetTagPlugins.so", events, out, 1, expected=1)
    assert "tagger: the model does not take events of this size" in said


def test_threads_do_not_race(installed):
    flags = [f"-DCMAKE_{language}_FLAGS=-fsanitize=thread -g" for language in ("C", "CXX")]
    prefix = installed.folder / "tsan"
    build(
        installed.folder / "tagger_c",
        installed.folder / "tagger_tsan",
        *flags,
        "-Dtagger_TEST=OFF",
        prefix=prefix,
        install=True,
    )
    out = installed.folder / "tsan.bin"
    for name, program, library in (
        ("cmssw", "cmsRun", "libJetTagPlugins.so"),
        ("athena", "athena", "libJetTagging.so"),
    ):
        folder = build(EXAMPLES / name, installed.folder / f"{name}_tsan", *flags, prefix=prefix)
        run(folder / program, folder / library, installed.events, out, 4)
        np.testing.assert_array_equal(results(out), bits(installed.tags))


def test_a_package_is_found_in_its_build_folder_and_as_a_subdirectory(installed):
    places = ";".join(str(installed.folder / f"{name}_build") for name in ("tagger", "facile"))
    folder = build(EXAMPLES / "plain", installed.folder / "plain_in_place", prefix=places)
    run(folder / "score", installed.events, installed.folder / "in_place.bin")
    project = installed.folder / "project"
    project.mkdir()
    (project / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.13)\nproject(user LANGUAGES C CXX)\n"
        f"add_subdirectory({installed.folder / 'facile_c'} facile)\nadd_executable(user user.cpp)\n"
        "target_link_libraries(user PRIVATE facile::facile)\ntarget_compile_features(user PRIVATE cxx_std_17)\n"
    )
    (project / "user.cpp").write_text(
        '#include "facile.hpp"\nint main() { return tamis::facile::run({}, {}) == tamis::Status::ok ? 0 : 1; }\n'
    )
    run(build(project, project / "build", prefix=Path(os.devnull)) / "user")
    assert not list((project / "build").rglob("facile_test"))
