"""Types in a menu are checked before the first event: against the file, or against what the menu itself says."""

from __future__ import annotations

import random
import textwrap

import awkward as ak
import numpy as np
import pyarrow.parquet as pq
import pytest
import uproot

from tamis._base import DataError, DocumentError, UsageError
from tamis.events import EventFile
from tamis.events.columns import Frame, columns_of
from tamis.trigger import check_files, compile_menu, load_menu, parse_expression, run_menu
from tamis.trigger.stages.kinds import kind_of_column

COLUMNS = (
    "Muon_pt",
    "Muon_charge",
    "Muon_tightId",
    "Jet_pt",
    "Jet_cleanmask",
    "MET_pt",
    "PV_npvs",
    "HLT_IsoMu24",
)


@pytest.fixture
def menu_with(tmp_path):
    """Return a function that writes a menu with one condition, and further lines."""

    def write(condition, more=""):
        path = tmp_path / "menu.yaml"
        text = f"menu: types\npaths:\n  one:\n    steps:\n      - {condition}\nstreams:\n  all: {{paths: [one], keep: [MET_pt]}}\n"
        path.write_text(text + textwrap.dedent(more))
        return load_menu(path)

    return write


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("Muon_pt > 20", r"'Muon_pt > 20' has a list per event; reduce it .* with any"),
        ("MET_pt > 3 and Muon_pt > 20", "has a list per event"),
        ("MET_pt", "is a number, not a condition; compare it, as in MET_pt > 0"),
        ("count(Muon_pt > Jet_pt) > 1", "character 7: .* lists of different lengths, of nMuon and of nJet"),
        ("any(MET_pt > 3)", r"character 1: any\(...\) takes a list per event, not one value"),
        ("at(MET_pt, 0, 0) > 3", r"at\(...\) takes a list per event"),
        ("at(Muon_pt, 0, Muon_eta) > 3", "the default of at.* must be one value, not a list"),
        ("-(MET_pt > 3)", "cannot be computed: .*boolean negative"),
        ("PV_npvs ** -1 > 0", "negative integer powers"),
        ("max(Jet_cleanmask * 300) > 2", "character 5: .*out of bounds for uint8"),
    ],
)
def test_a_condition_that_no_event_could_pass_stops_the_run_before_the_first(
    menu_with, real_file, tmp_path, condition, message
):
    menu = menu_with(condition)
    file = real_file("nano_dy.root")
    with pytest.raises(DocumentError, match=r"field paths.one.steps.0 \(line 5, column 9\): .*" + message):
        run_menu(menu, [file], tmp_path / "out")
    assert not (tmp_path / "out" / "decisions.parquet").exists()
    with compile_menu(menu) as compiled, pytest.raises(DocumentError, match=message):
        check_files(compiled, [file])


def test_types_are_followed_through_stages_and_into_histograms(menu_with, real_file):
    file = real_file("nano_dy.root")
    for more, message in (
        (
            "stages:\n  a: {define: {x: Muon_pt * 2, y: x + Jet_pt}}",
            "field stages.a .*lists of different lengths",
        ),
        (
            "stages:\n  a: {define: {x: Muon_pt * 2}}\n  b: {keep: x > 5}",
            "field stages.b .*has a list per event",
        ),
        (
            "histograms:\n  h: {of: any(MET_pt), bins: 4, low: 0, high: 1}",
            "field histograms.h.of .*takes a list",
        ),
    ):
        with (
            compile_menu(menu_with("MET_pt > 0", more)) as compiled,
            pytest.raises(DocumentError, match=message),
        ):
            check_files(compiled, [file])


def test_what_the_menu_says_itself_is_checked_without_a_file(menu_with):
    declared = "source: {columns: {Muon_pt: var * float32}}\n"
    with pytest.raises(DocumentError, match="has a list per event"):
        compile_menu(menu_with("Muon_pt > 20", declared))
    with pytest.raises(DocumentError, match="has a list per event"):
        compile_menu(menu_with("tag_score > 0.5", "stages: {tag: {bundle: conv-vae}}\n"))
    compile_menu(menu_with("Muon_pt > 20")).close()  # it may be one value per event


def test_a_menu_that_fits_runs(menu_with, real_file, tmp_path):
    file = real_file("nano_dy.root")
    menu = menu_with("count(Muon_pt > 20 and Muon_tightId) >= 1 and not MET_pt > 500")
    with compile_menu(menu) as compiled:
        assert check_files(compiled, [file]) == [str(file)]
    assert run_menu(menu, [file], tmp_path / "out").counts.debug == 0
    assert len(pq.read_table(tmp_path / "out" / "decisions.parquet")) == 40


def random_expression(rng, depth):
    """Return a random expression; about half of them have a fault of types."""
    if depth == 0:
        return rng.choice([*COLUMNS, "2", "0.5", "300", "True"])
    one, other = (random_expression(rng, depth - 1) for _ in range(2))
    return rng.choice(
        [
            f"({one} {rng.choice(['+', '-', '*', '/', '%', '>', '<=', '==', 'and', 'or'])} {other})",
            f"{rng.choice(['count', 'any', 'all', 'sum', 'max', 'min'])}({one})",
            f"{rng.choice(['abs', 'sqrt', 'cos'])}({one})",
            f"at({one}, 0, {other})",
            f"(not {one})",
            f"(-{one})",
            f"where({one}, {other}, 1)",
        ]
    )


def test_an_expression_passes_the_check_if_and_only_if_events_can_be_computed(real_file):
    rng = random.Random(5)
    with EventFile(str(real_file("nano_dy.root"))) as file:
        frame = Frame(columns_of(file.read(list(COLUMNS), 0, file.entries)), file.entries)
        kinds = {name: kind_of_column(file.type_of(name), file.collection_of(name)) for name in COLUMNS}
    rejected = 0
    for _ in range(3000):
        expression = parse_expression(random_expression(rng, rng.randint(1, 3)))
        try:
            expression.kind(kinds.__getitem__)
        except UsageError:
            rejected += 1
            with pytest.raises((UsageError, DataError, TypeError, ValueError, OverflowError)):
                expression.quantity(frame)
        else:
            expression.quantity(frame)
    assert 500 < rejected < 2500


def test_lists_with_a_counter_each_as_uproot_writes_them_can_be_combined(menu_with, tmp_path):
    path = tmp_path / "skim.root"
    pt, eta = ak.Array([[40.0, 20.0], [], [50.0]]), ak.Array([[1.0, 0.0], [], [3.0]])
    with uproot.recreate(path) as file:
        columns = {"Jet_pt": pt, "Jet_eta": eta, "MET_pt": np.ones(3, np.float32)}
        file.mktree("Events", {"Jet_pt": "var * float64", "Jet_eta": "var * float64", "MET_pt": "f4"})
        file["Events"].extend(columns)
    summary = run_menu(menu_with("any(Jet_pt > 30 and abs(Jet_eta) < 2.5)"), [path], tmp_path / "out")
    assert summary.counts.accepted == 1
