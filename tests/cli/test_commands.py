"""Every command: exit codes, JSON output, one-sentence errors."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import click
import numpy as np
import onnx
import pytest

from tamis.cli.app import COMMANDS, SECTIONS, app


@pytest.fixture
def model_file(bundle_of, tmp_path):
    path = tmp_path / "dense.onnx"
    onnx.save(bundle_of("dense").model, path)
    return path


def sentence(err):
    """Return the error message, which must be a single line."""
    lines = err.strip().splitlines()
    assert len(lines) == 1, err
    assert lines[0].startswith("tamis: ")
    return lines[0]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_every_command(call, name):
    code, out, err = call(name, "--help")
    assert (code, err) == (0, "")
    assert f"tamis {name}" in out


def test_help_lists_every_command_once_in_the_order_of_work(call):
    out = call("--help")[1]
    listed = [name for names in SECTIONS.values() for name in names]
    assert sorted(listed) == sorted(COMMANDS)
    found = [
        line.split()[0] for line in out.splitlines() if line.startswith("  ") and line.split()[0] in COMMANDS
    ]
    assert found == listed


def test_every_option_is_explained_and_commands_print_json():
    context = click.Context(app)
    for name in COMMANDS:
        command = app.get_command(context, name)
        options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
        assert [option.name for option in options if not option.help] == [], name
        assert name == "serve" or any("--json" in option.opts for option in options), name


def test_python_m_tamis():
    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "tamis", *arguments],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ,
        )

    shown = run("--help")
    assert shown.returncode == 0
    assert all(name in shown.stdout for name in COMMANDS)
    wrong = run("verfy")
    assert wrong.returncode == 2
    assert "did you mean 'verify'" in wrong.stderr
    missing = run("verify", "absent.tamis")
    assert missing.returncode == 5
    sentence(missing.stderr)


def test_pack_verify_inspect_and_bench(call, model_file, tmp_path):
    target = tmp_path / "m.tamis"
    code, out, err = call("pack", model_file, "-o", target, "--description", "a test")
    assert (code, err) == (0, "")
    assert "which onnxruntime reproduces" in out
    code, out, err = call("verify", target)
    assert code == 0
    assert all(name in out for name in ("onnxruntime", "openvino", "torch", "reference", "score"))
    code, out, _ = call("verify", target, "--engine", "onnxruntime,torch", "--json")
    assert [entry["engine"] for entry in json.loads(out)] == ["onnxruntime", "torch"]
    code, out, _ = call("inspect", target, "--json")
    description = json.loads(out)
    assert code == 0
    assert description["parameters"] == {"other": 112}
    assert description["inputs"][0]["name"] == "x"
    assert set(description["checksums"]) == {"model.onnx", "golden.safetensors"}
    assert "a test" in call("inspect", target)[1]
    assert json.loads(call("inspect", model_file, "--json")[1])["operators"]["Gemm"] == 1
    assert "Sigmoid" in call("inspect", model_file)[1]


@pytest.mark.slow
def test_bench(call, bundle_of, tmp_path):
    arguments = (
        "bench",
        bundle_of("dense").path,
        "--engine",
        "onnxruntime",
        "--batch",
        "1,4",
        "--rounds",
        2,
        "--seconds",
        0.1,
    )
    code, out, err = call(*arguments, "--no-cold", "--no-load", "--no-memory", "-o", tmp_path / "r")
    assert code == 0, err
    assert "the harness itself takes" in out
    (record,) = (tmp_path / "r").glob("bench-*.json")
    assert json.loads(record.read_text())["kind"] == "bench"
    code, out, _ = call(*arguments, "--no-cold", "--memory-events", 100, "--json")
    record = json.loads(out)
    assert code == 0
    assert [row["events"] for row in record["memory"]] == [4, 16, 100]
    assert len(record["load"]) == 1


def test_verify_on_sample_inputs(call, bundle_of, tmp_path):
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).normal(size=(30, 12)))
    code, out, _ = call(
        "verify", bundle_of("dense").path, "--engine", "torch", "--inputs", tmp_path / "x.npz", "--json"
    )
    assert code == 0
    assert json.loads(out)[0]["events"] == 30
    code, out, err = call("verify", bundle_of("dense").path, "--inputs", tmp_path / "absent.npz")
    assert (code, out) == (4, "")
    sentence(err)


def test_pack_gives_advice_if_float32_cannot_reproduce_the_golden_outputs(call, parse_model, tmp_path):
    softmax = "m (float[N, 3] x) => (float[N, 3] y) { e = Exp (x) \n s = ReduceSum (e, a) \n y = Div (e, s) }"
    model = parse_model(softmax)
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.int64([1]), "a"))
    onnx.save(model, tmp_path / "m.onnx")
    np.savez(tmp_path / "x.npz", x=100 + np.random.default_rng(0).normal(size=(20, 3)))
    arguments = ("pack", tmp_path / "m.onnx", "--inputs", tmp_path / "x.npz", "-o", tmp_path / "m.tamis")
    code, out, err = call(*arguments)
    assert (code, out) == (7, "")
    assert "nothing was packed" in sentence(err)
    assert not (tmp_path / "m.tamis").exists()
    assert call(*arguments, "--engine", "reference")[0] == 0


def test_verify_fails_with_exit_code_7_if_an_engine_fails(call, parse_model, tmp_path):
    onnx.save(parse_model("m (float[N, 3] x) => (float[N, 3] y) { y = Hardmax (x) }"), tmp_path / "m.onnx")
    np.savez(tmp_path / "x.npz", x=np.eye(3))
    assert (
        call("pack", tmp_path / "m.onnx", "--inputs", tmp_path / "x.npz", "-o", tmp_path / "m.tamis")[0] == 0
    )
    code, out, err = call("verify", tmp_path / "m.tamis", "--engine", "onnxruntime,torch")
    assert code == 7
    assert "cannot run it" in out
    assert "Hardmax" in sentence(err)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("verify", "DENSE", "--engine", "null"), 2, "computes nothing"),
        (("verify", "DENSE", "--engine", "opnvino"), 2, "did you mean 'openvino'"),
        (("pack", "absent.onnx", "-o", "m.tamis"), 2, "there is no model file"),
        (("pack", "MODEL", "-o", "m.tamis", "--dims", "N:3"), 2, "NAME=NUMBER"),
        (("pack", "MODEL", "-o", "m.tamis", "--score", "scor"), 2, "did you mean 'score'"),
        (("pack", "MODEL", "-o", "m.tamis", "--feature", "x"), 2, "INPUT=FEATURE"),
        (("pack", "MODEL", "-o", "m.tamis", "--feature", "x=leading_jest"), 2, "did you mean 'leading_jets'"),
        (("pack", "MODEL", "-o", "m.tamis", "--engine", "onnx"), 2, "no engine is called 'onnx'"),
        (("inspect", "absent"), 5, "neither a file nor a bundle"),
        (
            ("load", "host", "m", "--scenario", "closed", "--streams", "1"),
            2,
            "is not the address of a server",
        ),
        (("verify", "facile", "--engine", "all,native"), 2, "use either all, or a list"),
        (("bench", "DENSE", "--batch", "1,x"), 2, "not integers separated by commas"),
        (("bench", "DENSE", "--batch", "0"), 2, "at least 1"),
        (("bench", "DENSE", "--engine", "nothing"), 2, "no engine is called"),
        (("train", "conv-vea", "x.npy", "-o", "m.tamis"), 2, "did you mean 'conv-vae'"),
        (("train", "conv-vae", "absent.npy", "-o", "m.tamis"), None, "absent.npy"),
        (("score", "DENSE", "absent.root", "-o", "s.parquet"), None, "pack it with --feature|absent.root"),
        (("score", "DENSE", "absent.npy", "-o", "s.txt"), 2, "s.parquet"),
        (("score", "absent.tamis", "x.root", "-o", "s.parquet"), 5, "no bundle"),
    ],
)
def test_errors_are_one_sentence_and_leave_no_files(
    call, bundle_of, model_file, tmp_path, monkeypatch, arguments, code, message
):
    import re

    monkeypatch.chdir(tmp_path)
    names = {"DENSE": bundle_of("dense").path, "MODEL": model_file}
    before = sorted(tmp_path.iterdir())
    found, out, err = call(*(names.get(a, a) for a in arguments))
    assert found == code if code is not None else 0 < found < 10
    assert out == ""
    assert re.search(message, sentence(err))
    assert sorted(tmp_path.iterdir()) == before


def test_score(call, jet_bundle, jet_file, tmp_path):
    good, bad = jet_file("good.root"), tmp_path / "bad.root"
    bad.write_bytes(b"not an event file")
    output = tmp_path / "s.parquet"
    code, out, _ = call("score", jet_bundle.path, good, "-o", output, "--json")
    assert code == 0
    assert json.loads(out)["events"] == 40
    code, out, err = call(
        "score", jet_bundle.path, good, bad, "-o", tmp_path / "t.parquet", "--skip-bad-files"
    )
    assert code == 8
    assert "of 40 events" in out
    assert "bad.root" in err.splitlines()[0]
    assert (tmp_path / "t.parquet").exists()
    code, _, err = call("score", jet_bundle.path, good, bad, "-o", tmp_path / "u.parquet")
    assert code == 4
    sentence(err)
    assert not list(tmp_path.glob("*u.parquet*"))
    code, _, err = call("score", jet_bundle.path, good, "-o", tmp_path / "u.parquet", "--engine", "null")
    assert code == 7
    sentence(err)


def test_train(call, tmp_path):
    rng = np.random.default_rng(0)
    jets = np.abs(rng.normal(size=(60, 100, 3))).astype(np.float32)
    np.save(tmp_path / "jets.npy", jets)
    arguments = (
        "train",
        "conv-vae",
        tmp_path / "jets.npy",
        "-o",
        tmp_path / "m.tamis",
        "--epochs",
        1,
        "--latent",
        6,
        "--threads",
        1,
    )
    code, out, err = call(*arguments, "--json")
    assert code == 0, err
    assert json.loads(out)["training"]["training_jets"] == 51
    assert err.startswith("epoch 1: training loss")
    code, out, _ = call(*arguments, "--resume")
    assert code == 0
    assert "51 jets, best epoch 1, ended with its last epoch" in out


def test_an_unexpected_error_is_one_sentence(call, monkeypatch):
    import tamis.cli.inspect as command

    def fail(*_arguments, **_options):
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(command, "Path", fail)
    code, _, err = call("inspect", "x")
    assert code == 70
    assert "please report it: ZeroDivisionError" in sentence(err)
    monkeypatch.setattr(command, "Path", lambda *_: (_ for _ in ()).throw(EOFError("cut short")))
    code, _, err = call("inspect", "x")
    assert code == 70
    assert "please report it: EOFError: cut short" in err
    monkeypatch.setattr(
        command, "Path", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left", "out.tamis"))
    )
    code, _, err = call("inspect", "x")
    assert code == 1
    assert "the disk is full" in sentence(err)
    monkeypatch.setattr(command, "Path", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    code, _, err = call("inspect", "x")
    assert (code, err.strip()) == (130, "tamis: interrupted")


@pytest.mark.parametrize("options", [["inspect"], ["inspect", "--json"]])
def test_a_closed_pipe_is_not_an_error(jet_bundle, options):
    read, write = os.pipe()
    os.close(read)
    code = "from tamis.cli import main; main()"
    command = [sys.executable, "-c", code, *options, str(jet_bundle.path)]
    finished = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (finished.returncode, finished.stderr) == (0, b"")
