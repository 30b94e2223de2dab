"""Files of the experiments' formats serve the standard columns: equal to what awkward computes from their own."""

import awkward as ak
import numpy as np
import pyarrow.parquet as pq
import pytest

import tamis
from tamis._base import DataError, MissingColumnError, UsageError
from tamis.events import EventFile, Events, inspect_file, parse_aliases, read_events, write_events
from tamis.events.aliases import parse_alias
from tamis.events.profile import profiles
from tamis.features import feature_names, find_feature
from tamis.trigger import Menu, menu_of, models_on, run_menu, score_files

IDENTITY = ("run", "luminosityBlock", "event")


def renamed(events, names, **more):
    """Return events with other names of columns; names that are not given are left out, except the identity."""
    columns = {name: events[name] for name in IDENTITY}
    return Events.of({**columns, **{new: events[old] for old, new in names.items()}, **more})


def read(path, names, **options):
    chunks = [chunk.events for chunk in read_events(str(path), columns=names, **options)]
    return Events.concatenate(chunks)


V15 = {
    "FatJet_pt": "FatJet_pt",
    "FatJet_eta": "FatJet_eta",
    "FatJet_phi": "FatJet_phi",
    "FatJetPFCands_jetIdx": "FatJetPFCand_jetIdx",
    "FatJetPFCands_pFCandsIdx": "FatJetPFCand_pfCandIdx",
    "PFCands_pt": "PFCand_pt",
    "PFCands_eta": "PFCand_eta",
    "PFCands_phi": "PFCand_phi",
    "PFCands_pdgId": "PFCand_pdgId",
}


@pytest.mark.parametrize("suffix", [".root", ".parquet"])
def test_nanoaod_v15_scores_as_the_same_events_in_standard_names(suffix, jet_events, tmp_path):
    events = jet_events(40, kinds=True)
    write_events(tmp_path / "standard.root", events)
    write_events(tmp_path / f"v15{suffix}", renamed(events, V15))
    assert inspect_file(tmp_path / f"v15{suffix}").profile.name == "NanoAOD v15"
    with tamis.open("conv-vae") as session:
        for name in ("standard.root", f"v15{suffix}"):
            score_files(session, [str(tmp_path / name)], tmp_path / f"{name}.parquet")
    standard, v15 = (pq.read_table(tmp_path / f"{n}.parquet") for n in ("standard.root", f"v15{suffix}"))
    assert standard.num_rows > 20
    assert standard["score"].equals(v15["score"])
    charge = read(tmp_path / f"v15{suffix}", ["PFCands_charge"])["PFCands_charge"]
    assert charge.to_list() == ak.where(abs(events["PFCands_pdgId"]) == 211, 1, 0).to_list()


def test_charges_follow_the_pdg_identifiers(tmp_path):
    ids = [[211, -211, 11, -11, 13, -13], [22, 130, 1, 2], [], [321, -2212]]
    columns = {name: np.arange(4) for name in IDENTITY}
    write_events(
        tmp_path / "a.parquet", Events.of({**columns, "id": ak.values_astype(ak.Array(ids), np.int32)})
    )
    found = read(tmp_path / "a.parquet", ["Q"], aliases={"Q": "charge(id)"})["Q"]
    assert found.to_list() == [[1, -1, -1, 1, -1, 1], [0, 0, 0, 0], [], [1, -1]]


def objects(rng, counts, **ranges):
    total = int(counts.sum())
    return {
        name: ak.unflatten(rng.uniform(low, high, total).astype(np.float32), counts)
        for name, (low, high) in ranges.items()
    }


@pytest.fixture
def made(tmp_path):
    """Return a function that writes columns to a Parquet file, and reads standard columns of it."""

    def make(columns, count=30):
        numbers = {name: np.arange(count, dtype=np.uint64) for name in IDENTITY}
        write_events(tmp_path / "made.parquet", Events.of({**numbers, **columns}))
        return tmp_path / "made.parquet"

    return make


def test_constituents_by_distance_are_those_within_the_radius(made):
    rng = np.random.default_rng(3)
    jets, candidates = rng.integers(0, 3, 30), rng.integers(0, 40, 30)
    columns = {
        **{
            f"ScoutingFatPFJetRecluster_{k}": v
            for k, v in objects(rng, jets, pt=(200, 500), eta=(-2, 2), phi=(-3.1, 3.1)).items()
        },
        **{
            f"ScoutingPFCandidate_{k}": v
            for k, v in objects(rng, candidates, pt=(1, 50), eta=(-2.5, 2.5), phi=(-3.1, 3.1)).items()
        },
        "ScoutingPFJetRecluster_pt": objects(rng, jets, pt=(1, 2))["pt"],
    }
    path = made(columns)
    assert inspect_file(path).profile.name == "Scouting NanoAOD"
    events = read(
        path,
        [
            "FatJetPFCands_jetIdx",
            "FatJetPFCands_pFCandsIdx",
            "FatJet_eta",
            "FatJet_phi",
            "PFCands_eta",
            "PFCands_phi",
        ],
    )
    linked = 0
    for event in events.array:
        expected = []
        for i, (eta, phi) in enumerate(zip(event.PFCands_eta, event.PFCands_phi, strict=True)):
            distances = [
                np.hypot(eta - e, (phi - p + np.pi) % (2 * np.pi) - np.pi)
                for e, p in zip(event.FatJet_eta, event.FatJet_phi, strict=True)
            ]
            if distances and min(distances) < 0.8:
                expected.append((int(np.argmin(distances)), i))
        found = list(
            zip(event.FatJetPFCands_jetIdx.to_list(), event.FatJetPFCands_pFCandsIdx.to_list(), strict=True)
        )
        assert found == expected
        linked += len(found)
    assert linked > 15


def test_physlite_is_converted_to_gev(made):
    rng = np.random.default_rng(4)
    counts = rng.integers(0, 4, 30)
    jets = objects(rng, counts, pt=(2e4, 5e5), eta=(-2, 2), phi=(-3, 3), m=(1e3, 1e5))
    path = made({f"AnalysisJetsAuxDyn.{name}": values for name, values in jets.items()})
    summary = inspect_file(path)
    assert summary.profile.name == "PHYSLITE"
    events = read(path, ["Jet_pt", "Jet_eta", "Jet_mass"])
    assert ak.all(events["Jet_pt"] == jets["pt"] * np.float32(0.001))
    assert ak.all(events["Jet_eta"] == jets["eta"])
    assert str(events["Jet_pt"].type.content) == "var * float32"
    with pytest.raises(
        MissingColumnError, match=r"no column 'PFCands_pt': PHYSLITE has no particle-flow objects"
    ):
        read(path, ["PFCands_pt"])


def test_delphes_lists_of_one_become_values(made):
    rng = np.random.default_rng(5)
    counts = rng.integers(0, 4, 30)
    met = ak.unflatten(rng.uniform(1, 90, 30).astype(np.float32), np.ones(30, int))
    columns = {f"Jet.{k}": v for k, v in objects(rng, counts, PT=(20, 90), Eta=(-2, 2)).items()}
    path = made({**columns, "MissingET.MET": met})
    assert inspect_file(path).profile.name == "Delphes"
    events = read(path, ["MET_pt", "Jet_pt"])
    assert events["MET_pt"].to_list() == ak.flatten(met).to_list()
    assert ak.all(events["Jet_pt"] == columns["Jet.PT"])


def test_edm4hep_momenta_become_pt_eta_and_phi(made):
    rng = np.random.default_rng(6)
    counts = rng.integers(0, 9, 30)
    p = objects(rng, counts, x=(-50, 50), y=(-50, 50), z=(-90, 90))
    path = made({f"ReconstructedParticles.momentum.{axis}": values for axis, values in p.items()})
    assert inspect_file(path).profile.name == "EDM4hep"
    events = read(path, ["PFCands_pt", "PFCands_eta", "PFCands_phi"])
    x, y, z = (ak.to_numpy(ak.flatten(p[axis])) for axis in "xyz")
    np.testing.assert_allclose(ak.flatten(events["PFCands_pt"]), np.hypot(x, y), rtol=1e-6)
    np.testing.assert_allclose(ak.flatten(events["PFCands_eta"]), np.arcsinh(z / np.hypot(x, y)), rtol=1e-5)
    np.testing.assert_allclose(ak.flatten(events["PFCands_phi"]), np.arctan2(y, x), rtol=1e-6)


@pytest.mark.parametrize(
    ("columns", "name", "alternative"),
    [
        (["PFMET_pt", "Jet_pt", "Jet_btagUParTAK4B", "Jet_btagPNetB"], "NanoAOD v15", "Jet_btagUParTAK4B"),
        (["MET_pt", "Jet_btagDeepFlavB", "Jet_btagPNetB"], "NanoAOD v12", "Jet_btagPNetB"),
        (["MET_pt", "Jet_btagDeepFlavB"], "NanoAOD v9", "Jet_btagDeepFlavB"),
    ],
)
def test_the_first_alternative_that_a_file_has_is_read(columns, name, alternative, made):
    rng = np.random.default_rng(7)
    values = {c: rng.uniform(size=30).astype(np.float32) for c in columns}
    path = made(values)
    assert inspect_file(path).profile.name == name
    assert read(path, ["Jet_btag"])["Jet_btag"].to_list() == values[alternative].tolist()
    with pytest.raises(MissingColumnError, match="NanoAOD has particle-flow candidates only from v15 on"):
        read(path, ["PFCands_pt"])


def test_open_data_and_real_files_are_recognised(made, real_file):
    path = made(
        {"nMuon": np.zeros(30, np.int32), "Muon_pt": np.zeros(30), "Muon_charge": np.zeros(30, np.int32)}
    )
    assert inspect_file(path).profile.name == "CMS Open Data"
    assert inspect_file(real_file("nano_dy.root")).profile.name == "NanoAOD v9"
    assert inspect_file(real_file("nano_dy_rntuple.root")).profile.name == "NanoAOD v9"
    summary = inspect_file(real_file("pfnano.root"))
    assert summary.profile.name == "PFNano"
    known = {column.name for column in summary.columns} | set(summary.profile.aliases)
    able = {fit.model for fit in models_on(known) if not fit.missing}
    assert {"conv-vae", "graph-vae", "top-resnet", "topology-gru", "topology-both"} <= able
    assert not {"egamma", "tau"} & able


def test_aliases_of_the_user_come_before_columns_and_profiles(made):
    values = {name: np.arange(30, dtype=np.float32) + i for i, name in enumerate(("MET_pt", "PuppiMET_pt"))}
    path = made(values)
    assert read(path, ["MET_pt"])["MET_pt"].to_list() == values["MET_pt"].tolist()
    found = read(path, ["MET_pt"], aliases={"MET_pt": "PuppiMET_pt * 2"})["MET_pt"]
    assert found.to_list() == (2 * values["PuppiMET_pt"]).tolist()
    with pytest.raises(
        MissingColumnError,
        match=r"no column 'PupiMET_pt', which the alias MET_pt = PupiMET_pt reads; did you",
    ):
        read(path, ["MET_pt"], aliases={"MET_pt": "PupiMET_pt"})
    everything = read(path, None, aliases={"Other": "MET_pt"})
    assert "Other" not in everything  # an alias is read only by name


@pytest.mark.parametrize(
    ("option", "problem"),
    [
        ("MET_pt", "--alias takes NAME=COLUMN"),
        ("MET_pt=", "--alias takes NAME=COLUMN"),
        ("=x", "--alias takes NAME=COLUMN"),
        ("a=pt(x)", r"use pt\(PX, PY\)"),
        ("a=ptt(x, y)", "no function 'ptt'; did you mean 'pt'"),
        ("a=pt(x, y", "is not COLUMN"),
        ("a=pt(x, )", r"use pt\(PX, PY\)"),
        ("a=pt(x) * 1e3", r"use pt\(PX, PY\)"),
    ],
)
def test_malformed_aliases_are_told(option, problem):
    with pytest.raises(UsageError, match=problem):
        parse_aliases([option])


MENU = {
    "menu": "m",
    "source": {"aliases": {"Energy": "MET_pt * 1000"}},
    "paths": {"p": {"steps": ["Energy > 15000"]}},
    "streams": {"s": {"paths": ["p"], "keep": ["Energy"], "format": "parquet"}},
}


def test_an_alias_that_a_second_run_would_apply_again_is_refused(made, tmp_path):
    path = made({"MET_pt": np.arange(30, dtype=np.float32), "PuppiMET_pt": np.arange(30, dtype=np.float32)})
    for aliases in ({"MET_pt": "MET_pt * 0.5"}, {"MET_pt": "PuppiMET_pt", "PuppiMET_pt": "MET_pt"}):
        with pytest.raises(
            UsageError, match=r"reads \w+, which is the name of an alias: a run over its own streams"
        ):
            read(path, ["MET_pt"], aliases=aliases)
        with pytest.raises(ValueError, match="is the name of an alias"):
            Menu.model_validate({**MENU, "source": {"aliases": aliases}})
    streams = {"s": {"paths": ["p"], "keep": "all"}}
    menu = menu_of(Menu.model_validate({**MENU, "streams": streams})).with_aliases(
        {"Energy": "PuppiMET_pt * 1000"}
    )
    first = run_menu(menu, [path], tmp_path / "first")
    again = run_menu(menu, [tmp_path / "first" / "s.root"], tmp_path / "again")
    assert first.counts.accepted == again.counts.accepted == again.counts.entered == 14


@pytest.mark.parametrize("mode", ["batch", "event"])
def test_a_menu_names_columns(mode, made, tmp_path):
    path = made({"MET_pt": np.arange(30, dtype=np.float32)})
    menu = menu_of(Menu.model_validate(MENU))
    summary = run_menu(menu, [path], tmp_path / mode, mode=mode)
    assert summary.counts.accepted == 14
    assert pq.read_table(tmp_path / mode / "s.parquet")["Energy"].to_pylist() == [
        1000.0 * i for i in range(16, 30)
    ]
    other = run_menu(
        menu.with_aliases({"Energy": "MET_pt * 10000"}), [path], tmp_path / f"{mode}2", mode=mode
    )
    assert other.counts.accepted == 28


def test_profiles_alias_only_columns_that_something_reads():
    """A profile is data: its names must be those of features or of NanoAOD, and its functions must exist."""
    read_by_features = {column for name in feature_names() for column in find_feature(name).reads}
    assert len(profiles()) == 10
    for profile in profiles():
        parse_aliases([f"{name}={text}" for name, texts in profile.aliases.items() for text in texts])
        assert profile.recognised_by, profile.format
    named = {name for profile in profiles() for name in profile.aliases}
    assert len(named & read_by_features) > 20


@pytest.mark.parametrize(
    "text", ["pt(word, MET_pt)", "first(MET_pt)", "word * 2", "pt(long, short)", "charge(MET_pt)"]
)
def test_an_alias_that_cannot_be_computed_is_a_sentence(text, made):
    counts = np.arange(30)
    columns = {
        "word": ak.Array(["a"] * 30),
        "MET_pt": np.arange(30, dtype=np.float32),
        "long": ak.unflatten(np.arange(counts.sum() + 30, dtype=np.float32), counts + 1),
        "short": ak.unflatten(np.arange(counts.sum(), dtype=np.float32), counts),
    }
    path = made(columns)
    with pytest.raises(DataError, match=r"the alias .* cannot be computed \(.* is .*\): .") as raised:
        read(path, ["X"], aliases={"X": text})
    assert len(str(raised.value).splitlines()) == 1


def test_numbers_in_aliases():
    assert [parse_alias(f"x * {f}").factor for f in ("2", ".5", "3.", "-1e-3", "+2.5E2")] == [
        2,
        0.5,
        3,
        -1e-3,
        250,
    ]
    assert parse_alias("x * 1.2.3").reads == ("x * 1.2.3",)  # a column of such a name, which no file has


def test_a_folder_of_profiles_that_cannot_be_read_is_a_sentence(made, tmp_path, monkeypatch):
    path = made({"my_met": np.arange(30, dtype=np.float32)})
    monkeypatch.setenv("TAMIS_PROFILES", str(tmp_path / "nowhere"))
    with pytest.raises(UsageError, match=r"the profiles in TAMIS_PROFILES=.*nowhere cannot be read"):
        read(path, ["MET_pt"])


def test_opening_a_file_does_not_interpret_all_of_its_branches(real_file):
    with EventFile(str(real_file("nano_dy.root"))) as file:
        assert file.type_of("Jet_pt") == "var * float32"
        assert file.type_of("Jet_btag") == "var * float32"  # an alias
        file.read(["Jet_pt", "MET_pt", "Jet_btag"], 0, 5)
        assert "_types" not in vars(file._table.plain)


def test_an_own_profile_comes_first(made, tmp_path, monkeypatch):
    folder = tmp_path / "profiles"
    folder.mkdir()
    (folder / "mine.yaml").write_text(
        "format: Mine\nabout: Test.\nrecognised_by: [[my_met]]\naliases: {MET_pt: [my_met]}\n"
    )
    monkeypatch.setenv("TAMIS_PROFILES", str(folder))
    path = made({"my_met": np.arange(30, dtype=np.float32)})
    assert inspect_file(path).profile.name == "Mine"
    assert read(path, ["MET_pt"])["MET_pt"].to_list() == list(range(30))


def test_globs_over_standard_names_match_aliases_where_the_file_has_no_such_column(jet_events, tmp_path):
    write_events(tmp_path / "v15.root", renamed(jet_events(5, kinds=True), V15))
    found = read(tmp_path / "v15.root", ["FatJet_*", "FatJetPFCands_*"])
    assert set(found.array.fields) == {
        *IDENTITY,
        *("FatJet_pt", "FatJet_eta", "FatJet_phi", "FatJetPFCands_jetIdx", "FatJetPFCands_pFCandsIdx"),
    }
    with pytest.raises(MissingColumnError, match=r"no column that matches 'EcalCell_\*'"):
        read(tmp_path / "v15.root", ["EcalCell_*"])
