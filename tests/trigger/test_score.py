from __future__ import annotations

import re

import awkward as ak
import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest

import tamis
from tamis._base import (
    DataError,
    InputMismatchError,
    TamisError,
    UsageError,
    VerificationError,
)
from tamis.bundle import pack
from tamis.events import Events, write_events
from tamis.features import leading_jets
from tamis.trigger import score_batch, score_events, score_files


@pytest.fixture
def session(jet_bundle):
    with tamis.open(jet_bundle) as opened:
        yield opened


def test_scores_are_those_of_the_leading_jets(session, jet_events):
    events = jet_events(30)
    scored = score_batch(session, events, ["FatJet_pt"])
    jets = leading_jets(events, jets=2)
    np.testing.assert_allclose(scored.outputs["score"], jets.inputs[:, :, 2].sum(1), rtol=1e-5)
    assert scored.events == 30
    assert scored.events_with_rows == len(np.unique(scored.identity, axis=0))
    np.testing.assert_array_equal(scored.about["jet"], jets.jet_index)
    np.testing.assert_array_equal(scored.columns["FatJet_pt"], jets.take(events, "FatJet_pt"))


@pytest.mark.parametrize("suffix", [".root", ".parquet"])
def test_every_event_of_every_file_is_accounted_for(session, jet_file, tmp_path, suffix):
    files = [str(jet_file(f"a{suffix}")), str(jet_file(f"b{suffix}", first=40))]
    facts = score_files(session, files, tmp_path / "s.parquet", chunk_bytes=3000)
    table = pq.read_table(tmp_path / "s.parquet")
    assert facts.events == 80
    assert facts.rows == table.num_rows
    assert facts.events_without_rows == 80 - len(set(table["event"].to_pylist())) == 12
    assert table.schema.names[:4] == ["run", "luminosityBlock", "event", "jet"]
    assert table["output.event"].type.list_size == 3  # an output with the name of a column
    metadata = table.schema.metadata
    assert metadata[b"tamis.bundle"] == b"jets"
    assert metadata[b"tamis.engine"].startswith(b"onnxruntime ")
    direct = np.concatenate([c.outputs["score"] for c in score_events(session, files)])
    np.testing.assert_array_equal(table["score"].to_numpy(), direct)


def test_events_with_the_same_number_are_counted_separately(session, jet_file, tmp_path):
    files = [str(jet_file("a.root")), str(jet_file("b.root"))]
    facts = score_files(session, files, tmp_path / "s.parquet")
    assert (facts.events, facts.events_without_rows) == (80, 12)


def test_a_column_that_only_some_files_have_is_filled(session, jet_file, tmp_path):
    files = [str(jet_file("a.parquet")), str(jet_file("b.parquet", mass=False))]
    facts = score_files(session, files, tmp_path / "s.parquet")
    mass = pq.read_table(tmp_path / "s.parquet")["FatJet_mass"].to_numpy()
    assert len(mass) == facts.rows
    assert np.isnan(mass).any()
    assert not np.isnan(mass).all()


def test_bad_files_are_skipped_only_on_request(session, jet_file, tmp_path):
    good = str(jet_file("good.root"))
    bad = tmp_path / "bad.root"
    bad.write_bytes(b"root" + b"\0" * 500)
    with pytest.raises(TamisError, match=r"bad.root"):
        score_files(session, [good, str(bad)], tmp_path / "s.parquet")
    assert not list(tmp_path.glob("*s.parquet*"))
    facts = score_files(session, [good, str(bad)], tmp_path / "s.parquet", skip_bad_files=True)
    assert len(facts.skipped) == 1
    assert re.match(r"\S*bad\.root has no tree", facts.skipped[0])
    assert facts.events == 40
    with pytest.raises(DataError, match=r"nothing could be read from .*bad.root"):
        score_files(session, [str(bad)], tmp_path / "t.parquet", skip_bad_files=True)
    assert not (tmp_path / "t.parquet").exists()


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".h5"])
def test_arrays_are_scored_row_by_row(session, tmp_path, suffix):
    x = np.abs(np.random.default_rng(0).normal(size=(25, 100, 3)))
    file = tmp_path / f"x{suffix}"
    if suffix == ".npy":
        np.save(file, x)
    elif suffix == ".npz":
        np.savez(file, jets=x)
    else:
        with h5py.File(file, "w") as handle:
            handle["jets"] = x
    facts = score_files(session, [str(file)], tmp_path / "s.parquet", chunk_bytes=20_000)
    table = pq.read_table(tmp_path / "s.parquet")
    assert facts.rows == 25
    np.testing.assert_array_equal(table["row"].to_numpy(), np.arange(25))
    np.testing.assert_allclose(table["score"].to_numpy(), x[:, :, 2].sum(1), rtol=1e-5)


def test_unsuitable_arrays_are_rejected_and_leave_no_output(session, tmp_path, bundle_of):
    np.save(tmp_path / "flat.npy", np.zeros((5, 3), np.float32))
    np.save(tmp_path / "complex.npy", np.zeros((5, 100, 3), complex))
    for name in ("flat.npy", "complex.npy"):
        with pytest.raises(DataError):
            score_files(session, [str(tmp_path / name)], tmp_path / "s.parquet")
    with (
        tamis.open(bundle_of("deep-jet")) as several,
        pytest.raises(UsageError, match=r"takes .*cpf.x.*in Python with tamis.open"),
    ):
        score_files(several, [str(tmp_path / "flat.npy")], tmp_path / "s.parquet")
    with tamis.open(bundle_of("embedding")) as several, pytest.raises(UsageError):
        score_files(several, [str(tmp_path / "flat.npy")], tmp_path / "s.parquet")
    assert not list(tmp_path.glob("*s.parquet*"))
    assert issubclass(InputMismatchError, DataError)


def test_the_output_must_not_be_an_input(session, jet_file):
    file = jet_file("a.parquet")
    before = file.read_bytes()
    with pytest.raises(UsageError, match="is one of the files to score; name another"):
        score_files(session, [str(file)], file)
    assert file.read_bytes() == before
    with pytest.raises(UsageError, match=r"name the output a.parquet, not a.root"):
        score_files(session, [str(file)], file.with_suffix(".root"))


@pytest.mark.parametrize("form", ["{folder}/a*.parquet", "file://{folder}/a.parquet", "file://{folder}/*"])
def test_the_output_must_not_be_an_input_under_another_name(session, jet_file, form):
    file = jet_file("a.parquet")
    before = file.read_bytes()
    with pytest.raises(UsageError, match="is one of the files to score; name another"):
        score_files(session, [form.format(folder=file.parent)], file)
    assert file.read_bytes() == before


def test_an_unverified_engine_does_not_score(jet_bundle, jet_file, tmp_path):
    with tamis.open(jet_bundle, "null") as session:
        with pytest.raises(VerificationError, match="engine null was not verified"):
            score_files(session, [str(jet_file("a.root"))], tmp_path / "s.parquet")
        with pytest.raises(VerificationError, match="use another engine"):
            list(score_events(session, [str(jet_file("a.root"))]))


def test_a_bundle_without_features_is_rejected(bundle_of, jet_bundle, jet_file, tmp_path):
    file = str(jet_file("a.root"))
    with (
        tamis.open(bundle_of("dense")) as session,
        pytest.raises(
            UsageError, match=r"pack it with --feature x=FEATURE, or with --columns x=COLUMN,COLUMN"
        ),
    ):
        score_files(session, [file], tmp_path / "s.parquet")
    packed = pack(jet_bundle.model, tmp_path / "m.tamis", features={"jets": "leading_jet"})
    with (
        tamis.open(packed.bundle) as session,
        pytest.raises(TamisError, match="did you mean 'leading_jets'"),
    ):
        score_files(session, [file], tmp_path / "s.parquet")


@pytest.mark.parametrize("kind", ["coupled", "number"])
def test_a_bundle_that_cannot_run_in_pieces_is_rejected_before_reading(parse_model, tmp_path, kind):
    ends = {"coupled": "y = Sub (x, s)", "number": "y = ReduceMean <keepdims = 0> (s)"}
    shape = {"coupled": "[N, 100, 3]", "number": ""}
    model = parse_model(
        f"""m (float[N, 100, 3] x) => (float{shape[kind]} y) {{
            s = ReduceMean <axes = [0], keepdims = 1> (x)
            {ends[kind]}
        }}"""
    )
    packed = pack(model, tmp_path / "m.tamis", features={"x": "leading_jets"})
    with tamis.open(packed.bundle) as session:
        for absent in ("a.npy", "a.root"):
            with pytest.raises(
                UsageError, match=r"cannot be scored in pieces.*with tamis.open on one set of arrays"
            ):
                score_files(session, [str(tmp_path / absent)], tmp_path / "s.parquet")
        with pytest.raises(UsageError, match="cannot be scored in pieces"):
            next(score_events(session, [str(tmp_path / "a.root")]))


def test_errors_in_events_name_the_file(session, jet_events, tmp_path):
    array = jet_events(20).array
    write_events(tmp_path / "a.parquet", Events(ak.with_field(array, np.ones(20, "f4"), "FatJet_pt")))
    write_events(
        tmp_path / "b.parquet",
        Events(ak.with_field(array, array["FatJetPFCands_jetIdx"] + 3, "FatJetPFCands_jetIdx")),
    )
    for name, message in (
        ("a", "FatJet_pt has one value per event"),
        ("b", "FatJetPFCands_jetIdx is 3 in event 1:1:1"),
    ):
        file = str(tmp_path / f"{name}.parquet")
        with pytest.raises(DataError, match=f"{name}.parquet: {message}"):
            score_files(session, [file], tmp_path / "s.parquet")
        with pytest.raises(DataError, match=f"{name}.parquet: {message}"):
            list(score_events(session, [file]))


def test_the_tree_option_chooses_a_dataset(session, tmp_path):
    x = np.abs(np.random.default_rng(0).normal(size=(5, 100, 3))).astype(np.float32)
    with h5py.File(tmp_path / "a.h5", "w") as handle:
        handle["one"], handle["two"], handle["flat"] = x, 2 * x, x[:, 0]
    file, output = str(tmp_path / "a.h5"), tmp_path / "s.parquet"
    with pytest.raises(UsageError, match=r"choose one with --tree .*: one, two"):
        score_files(session, [file], output)
    score_files(session, [file], output, tree="two")
    np.testing.assert_allclose(pq.read_table(output)["score"].to_numpy(), 2 * x[:, :, 2].sum(1), rtol=1e-5)
    with pytest.raises(DataError, match=r"no dataset 'twoo'; did you mean 'two'"):
        score_files(session, [file], output, tree="twoo")
    with pytest.raises(InputMismatchError, match=r"a.h5: the input 'jets' has the shape \(5, 3\)"):
        score_files(session, [file], output, tree="flat")


def test_a_free_inner_dimension_accepts_any_size(parse_model, tmp_path):
    model = parse_model(
        """m (float[N, t, 6] x) => (float[N] y) { y = ReduceSum <keepdims = 0> (x, a) }""".replace(
            "{", "{ a = Constant <value_ints = [1, 2]> ()"
        )
    )
    x = np.random.default_rng(0).normal(size=(9, 15, 6)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    with tamis.open(pack(model, tmp_path / "m.tamis").bundle) as session:
        score_files(session, [str(tmp_path / "x.npy")], tmp_path / "s.parquet")
    scores = pq.read_table(tmp_path / "s.parquet")["y"].to_numpy()
    np.testing.assert_allclose(scores, x.sum((1, 2)), rtol=1e-4, atol=1e-5)


def test_fixed_batches_are_not_split_by_chunks(parse_model, tmp_path):
    model = parse_model("m (float[8, 20] x) => (float[8, 4] y) { y = MatMul (x, w) }", w=(20, 4))
    x = np.random.default_rng(0).normal(size=(50, 20)).astype(np.float32)
    np.save(tmp_path / "whole.npy", x[:48])
    np.save(tmp_path / "more.npy", x)
    with tamis.open(pack(model, tmp_path / "m.tamis").bundle) as session:
        expected = session.run(x[:48])["y"]
        for chunk_bytes in (1, 1000, 10**8):
            score_files(
                session, [str(tmp_path / "whole.npy")], tmp_path / "s.parquet", chunk_bytes=chunk_bytes
            )
            scores = np.array(pq.read_table(tmp_path / "s.parquet")["y"].to_pylist(), np.float32)
            np.testing.assert_array_equal(scores, expected)
        with pytest.raises(
            InputMismatchError, match=r"more.npy: dataset 'more' has 50 rows.* multiple of 8.*to 56"
        ):
            score_files(session, [str(tmp_path / "more.npy")], tmp_path / "t.parquet", chunk_bytes=1000)
    assert not (tmp_path / "t.parquet").exists()


def test_the_format_is_found_by_content(session, jet_file, tmp_path):
    events = jet_file("e.root").rename(tmp_path / "e.h5")
    assert score_files(session, [str(events)], tmp_path / "s.parquet").events == 40
    with h5py.File(tmp_path / "x.root", "w") as handle:
        handle["jets"] = np.ones((7, 100, 3), np.float32)
    assert score_files(session, [str(tmp_path / "x.root")], tmp_path / "s.parquet").rows == 7
    (tmp_path / "bad.h5").write_bytes(b"")
    files = [str(tmp_path / "bad.h5"), str(events)]
    facts = score_files(session, files, tmp_path / "s.parquet", skip_bad_files=True)
    assert (facts.events, len(facts.skipped)) == (40, 1)


def test_event_numbers_keep_their_values(session, jet_events, tmp_path):
    array = jet_events(20).array
    numbers = {
        "large": np.arange(20, dtype=np.uint64) + np.uint64(2**64 - 20),
        "negative": np.arange(20) - 30,
    }
    for name, event in numbers.items():
        file = tmp_path / f"{name}.parquet"
        write_events(file, Events(ak.with_field(array, event, "event")))
        score_files(session, [str(file)], tmp_path / "s.parquet")
        assert set(pq.read_table(tmp_path / "s.parquet")["event"].to_pylist()) <= set(event.tolist())
    files = [str(tmp_path / f"{name}.parquet") for name in numbers]
    with pytest.raises(DataError, match="do not fit one type"):
        score_files(session, files, tmp_path / "t.parquet")
    both = ak.with_field(ak.with_field(array, numbers["large"], "event"), np.full(20, -1), "run")
    with pytest.raises(DataError, match="does not fit a signed type"):
        score_batch(session, Events(both))


def test_a_fixed_batch_scores_events_independent_of_chunks(parse_model, jet_file, tmp_path):
    graph = "m (float[{n}, 100, 3] x) => (float[{n}, 3] y) {{ a = Constant <value_ints = [1]> () y = ReduceSum <keepdims = 0> (x, a) }}"
    file, found = str(jet_file("a.parquet")), {}
    for n, chunk_bytes in (("N", 10**8), ("8", 10**8), ("8", 3000)):
        packed = pack(
            parse_model(graph.format(n=n)),
            tmp_path / f"{n}{chunk_bytes}.tamis",
            features={"x": "leading_jets"},
        )
        with tamis.open(packed.bundle) as session:
            facts = score_files(session, [file], tmp_path / "s.parquet", chunk_bytes=chunk_bytes)
        assert facts.rows % 8
        found[n, chunk_bytes] = pq.read_table(tmp_path / "s.parquet")
    first, *others = found.values()
    for table in others:
        assert table["event"].to_pylist() == first["event"].to_pylist()
        np.testing.assert_allclose(table["y"].to_pylist(), first["y"].to_pylist(), rtol=1e-5, atol=1e-4)
