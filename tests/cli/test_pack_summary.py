"""`pack` tells what it packed, and sets working points from a background sample."""

from __future__ import annotations

import json

import numpy as np
import onnx
import pytest

from tamis.bundle import Bundle, Reference


@pytest.fixture
def model_file(bundle_of, tmp_path):
    onnx.save(bundle_of("dense").model, tmp_path / "dense.onnx")
    return tmp_path / "dense.onnx"


@pytest.fixture
def background(tmp_path):
    rows = np.random.default_rng(1).normal(size=(2000, 12)).astype(np.float32)
    np.savez(tmp_path / "qcd.npz", x=rows)
    return tmp_path / "qcd.npz"


def test_pack_prints_what_it_packed_in_80_columns(call, model_file, background, tmp_path):
    target = tmp_path / "m.tamis"
    code, out, err = call(
        "pack", model_file, "-o", target, "--working-point", "tight=1%", "--working-point", "loose=0.1",
        "--background", background,
    )  # fmt: skip
    assert (code, err) == (0, "")
    lines = out.splitlines()
    path_lines = [line for line in lines if str(target) in line]
    assert max(len(line) for line in lines if line not in path_lines) <= 80
    assert lines[lines.index("inputs") + 1].split() == ["x", "float32", "N", "x", "12"]
    assert lines[lines.index("outputs") + 1].split() == ["score", "float32", "N", "x", "1", "the", "score"]
    tight = lines[lines.index("working points of score") + 1]
    assert tight.split()[0] == "tight"
    assert tight.endswith("accepts 1 %   of 2000 rows of qcd.npz")
    assert "golden events: 64, which onnxruntime reproduces" in out
    assert lines[-2] == f"written: {target}"
    assert lines[-1] == f"next: tamis verify {target} --engine all"
    assert call(*lines[-1].removeprefix("next: tamis ").split())[0] == 0


def test_the_threshold_accepts_the_asked_fraction_of_the_background(call, model_file, background, tmp_path):
    target = tmp_path / "m.tamis"
    code, out, _ = call(
        "pack",
        model_file,
        "-o",
        target,
        "--working-point",
        "tight=0.01",
        "--background",
        background,
        "--json",
    )
    assert code == 0
    document = json.loads(out)
    assert document["golden_events"] == 64
    assert document["next"] == f"tamis verify {target} --engine all"
    (point,) = Bundle.open(target).manifest.working_points
    assert document["manifest"]["working_points"] == [point.model_dump()]
    bundle = Bundle.open(target)
    scores = Reference(bundle.model)({"x": np.load(background)["x"]})["score"]
    assert int(np.sum(scores > point.threshold)) == 20
    assert point.background_efficiency == 0.01


def test_the_next_command_can_be_pasted(call, model_file, tmp_path):
    import shlex

    target = tmp_path / "my models" / "m.tamis"
    code, out, _ = call("pack", model_file, "-o", target)
    assert code == 0
    assert shlex.split(out.splitlines()[-1])[1:4] == ["tamis", "verify", str(target)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--working-point", "tight=10Hz"), "for a rate in Hz, tune the path of a menu: tamis rates"),
        (("--working-point", "tight"), "not of the form NAME=RATE"),
        (("--working-point", "tight=1"), "expected more than 0 and less than 100 %"),
        (("--working-point", "a=0.1", "--working-point", "a=0.2"), "names 'a' twice"),
        (("--working-point", "tight=0.001"), "give 10000 rows or more"),
        ((), "need each other"),
    ],
)
def test_a_working_point_that_cannot_be_set_packs_nothing(
    call, model_file, background, tmp_path, options, message
):
    target = tmp_path / "m.tamis"
    code, out, err = call("pack", model_file, "-o", target, "--background", background, *options)
    assert code in (2, 4)
    assert message in err
    assert (out, target.exists()) == ("", False)


def test_names_that_do_not_match_are_told(call, model_file, jet_file, tmp_path):
    np.savez(tmp_path / "other.npz", X=np.zeros((100, 12)), label=np.zeros(100))
    target, point = tmp_path / "m.tamis", ("--working-point", "p=0.2")
    code, _, err = call("pack", model_file, "-o", target, *point, "--background", tmp_path / "other.npz")
    assert code == 4
    assert "the input x: float32[N, 12] is not in" in err
    assert "which has X (100, 12), label (100); did you mean 'X'?" in err
    assert "numpy.savez(FILE, x=rows)" in err
    background = ("--background", jet_file("qcd.root"))
    code, _, err = call("pack", model_file, "-o", target, *point, *background)
    assert code == 2
    assert "declares no feature for its input x: float32[N, 12]: pack it with --feature x=FEATURE" in err
    assert "--columns x=COLUMN,COLUMN" in err
    names = ["FatJet_pt", "FatJet_et", *["FatJet_phi"] * 10]
    code, _, err = call(
        "pack", model_file, "-o", target, *point, *background, "--columns", f"x={','.join(names)}"
    )
    assert code == 4
    assert "column 'FatJet_et' of the input x: float32[N, 12] is not in" in err
    assert "which has run, luminosityBlock, event, " in err
    assert "did you mean 'FatJet_eta'" in err
    code, _, err = call(
        "pack", model_file, "-o", target, *point, *background, "--columns", "x=FatJet_pt,FatJet_eta"
    )
    assert code == 2
    assert (
        "2 columns are named for the input x: float32[N, 12]: FatJet_pt, FatJet_eta; a row of it needs one name"
        in err
    )
    assert not target.exists()


def test_inputs_are_read_from_columns_of_their_names(call, parse_model, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    sums = "m (float[N, 1] MET_pt, float[N] HT) => (float[N] score) { a = Constant <value_ints = [1]> () \n b = Squeeze (MET_pt, a) \n score = Add (b, HT) }"
    onnx.save(parse_model(sums, 17), tmp_path / "sum.onnx")
    rng = np.random.default_rng(0)
    met, ht = rng.exponential(30, 400), rng.exponential(100, 400)
    pq.write_table(pa.table({"HT": ht, "MET_pt": met, "nJet": np.arange(400)}), tmp_path / "qcd.parquet")
    point = ("--working-point", "ten=10%", "--background", tmp_path / "qcd.parquet")
    code, _, err = call("pack", tmp_path / "sum.onnx", "-o", tmp_path / "s.tamis", *point)
    assert code == 0, err
    (found,) = Bundle.open(tmp_path / "s.tamis").manifest.working_points
    assert np.sum(met + ht > found.threshold) == 40
    pq.write_table(pa.table({"HT": ht, "MET_phi": met}), tmp_path / "qcd.parquet")
    code, _, err = call("pack", tmp_path / "sum.onnx", "-o", tmp_path / "s.tamis", *point)
    assert code == 4
    assert "the input MET_pt: float32[N, 1] is not in" in err
    assert "did you mean 'MET_phi'" in err


def test_a_bundle_with_features_scores_the_background_events(call, jet_file, tmp_path):
    model = Bundle.open("conv-vae")
    onnx.save(model.model, tmp_path / "vae.onnx")
    np.savez(tmp_path / "jets.npz", **model.golden.inputs)
    code, out, err = call(
        "pack", tmp_path / "vae.onnx", "-o", tmp_path / "vae.tamis", "--inputs", tmp_path / "jets.npz",
        "--score", "score", "--feature", "jets=leading_jets", "--working-point", "half=50%", "--background", jet_file("qcd.root"),
    )  # fmt: skip
    assert code == 0, err
    assert "from leading_jets" in out
    (point,) = Bundle.open(tmp_path / "vae.tamis").manifest.working_points
    assert point.background_efficiency == pytest.approx(0.5, abs=0.02)


def test_a_score_of_several_columns_is_told_and_lists_are_rows(call, parse_model, bundle_of, tmp_path):
    import awkward as ak

    two = "m (float[N, 2] x) => (float[N, 2] p) { p = Softmax <axis = 1> (x) }"
    onnx.save(parse_model(two), tmp_path / "two.onnx")
    np.savez(tmp_path / "qcd.npz", x=np.random.default_rng(0).normal(size=(300, 2)))
    options = ("-o", tmp_path / "m.tamis", "--working-point", "p=0.2", "--background", tmp_path / "qcd.npz")
    code, _, err = call("pack", tmp_path / "two.onnx", *options)
    assert code == 2
    assert (
        "the score p has 2 numbers per row, but a threshold needs one: choose one column, as in --score p:1"
        in err
    )
    code, out, err = call("pack", tmp_path / "two.onnx", *options, "--score", "p:1")
    assert code == 0, err
    assert "working points of p_1" in out
    one = "m (float[N] Jet_pt) => (float[N] score) { score = Neg (Jet_pt) }"
    onnx.save(parse_model(one), tmp_path / "one.onnx")
    ak.to_parquet(ak.Array({"Jet_pt": [[1.0, 2.0], [3.0]] * 100}), tmp_path / "lists.parquet")
    options = (
        "-o",
        tmp_path / "o.tamis",
        "--working-point",
        "p=0.2",
        "--background",
        tmp_path / "lists.parquet",
    )
    code, _, err = call("pack", tmp_path / "one.onnx", *options)
    assert code == 0, err
    (point,) = Bundle.open(tmp_path / "o.tamis").manifest.working_points
    assert point.background == "300 rows of lists.parquet"  # one for each jet


def test_hdf5_arrays_in_chunks_give_the_same_threshold(call, model_file, background, tmp_path, monkeypatch):
    import h5py

    monkeypatch.setattr("tamis.trigger.score.PIECE_BYTES", 48 * 300)  # 300 rows at a time
    with h5py.File(tmp_path / "qcd.h5", "w") as file:
        file["x"] = np.load(background)["x"]
        file["label"] = np.zeros(2000)
    points = []
    for file in (background, tmp_path / "qcd.h5"):
        target = tmp_path / f"{file.stem}{file.suffix}.tamis"
        assert (
            call("pack", model_file, "-o", target, "--working-point", "p=0.05", "--background", file)[0] == 0
        )
        points.append(Bundle.open(target).manifest.working_points[0].threshold)
    assert points[0] == points[1]
