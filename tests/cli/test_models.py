"""`models` lists the shipped bundles, and shows one with everything that a user needs to choose it."""

from __future__ import annotations

import json

import pytest

from tamis._base import registry
from tamis.bundle import BUNDLE_GROUP, Bundle, add_texts


def test_every_shipped_bundle_is_listed_in_80_columns(call):
    code, out, err = call("models")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [line for line in lines if not line.startswith((" ", "next:"))] == registry.names(BUNDLE_GROUP)
    assert max(map(len, lines)) <= 80
    facile = lines[lines.index("facile") : lines.index("graph-vae")]
    assert facile[1].strip().startswith("FACILE: the energy of a channel")
    assert "  2,093 parameters, 4.17 kFLOP per row" in facile
    assert "  inputs: channels, given as arrays" in facile
    assert "  inputs: particles from particle_list, event from lepton_event" in lines
    assert "  AUC: tau 0.993" in lines


def test_the_list_as_json(call):
    code, out, _ = call("models", "--json")
    models = {entry["name"]: entry for entry in json.loads(out)["models"]}
    assert code == 0
    assert sorted(models) == registry.names(BUNDLE_GROUP)
    bundle = Bundle.open("conv-vae")
    entry = models["conv-vae"]
    assert entry["description"] == bundle.manifest.description
    assert entry["flops"] == bundle.manifest.cost.flops
    assert entry["parameters"] == sum(bundle.parameters.values())
    assert entry["inputs"] == {"jets": "leading_jets"}
    assert entry["card"] == str(bundle.path / "CARD.md")
    assert entry["time_ns"] is None


def test_one_bundle_is_shown_with_its_card(call):
    code, out, err = call("models", "show", "conv-vae")
    assert (code, err) == (0, "")
    bundle = Bundle.open("conv-vae")
    assert bundle.card.strip() in out
    above = out.split("# Model card")[0]
    for expected in (
        "jets  float32  N x 100 x 3",
        "the score",
        "background-0.01",
        "leading_jets  reads FatJet_pt",
        f"path: {bundle.path}",
    ):
        assert expected in above
    for arguments in (("models", "show", "conv-vae", "--json"), ("models", "--json", "show", "conv-vae")):
        document = json.loads(call(*arguments)[1])
        assert document["card_text"] == bundle.card
        assert "FatJet_pt" in document["features"]["leading_jets"]["reads"]
        assert document["manifest"]["name"] == "conv-vae"


def test_an_unknown_name_is_told_with_close_matches(call):
    code, out, err = call("models", "show", "conv_vae")
    assert (code, out) == (5, "")
    assert "did you mean 'conv-vae' or" in err


@pytest.mark.slow
def test_the_time_comes_from_records_or_the_plan_of_this_host(call, bundle_of, tmp_path):
    bundle = bundle_of("dense")
    bench = (
        "bench",
        bundle.path,
        "--engine",
        "onnxruntime",
        "--batch",
        "1",
        "--rounds",
        2,
        "--seconds",
        0.1,
    )
    code, _, err = call(*bench, "--no-cold", "--no-load", "--no-memory", "-o", tmp_path / "records")
    assert code == 0, err
    shown = json.loads(call("models", "show", bundle.path, "--records", tmp_path / "records", "--json")[1])
    assert 0 < shown["time_ns"] < 1e8
    assert shown["time_of"] == "onnxruntime, batch 1"
    assert (
        "µs per row (onnxruntime, batch 1)"
        in call("models", "show", bundle.path, "--records", tmp_path / "records")[1]
    )
    tuned = tmp_path / "tuned.tamis"
    code, _, err = call("tune", bundle.path, "-o", tuned, "--engine", "onnxruntime", "--batch", "1,8")
    assert code == 0, err
    assert json.loads(call("models", "show", tuned, "--json")[1])["time_of"].endswith("batch 1")
    assert add_texts(Bundle.open(tuned), {"CARD.md": "# Card\n"}).card in call("models", "show", tuned)[1]
