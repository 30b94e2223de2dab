"""The first page of the demo: the four answers, samples apart, words explained."""

from __future__ import annotations

import re

from tamis.measure import read_records
from tamis.records import DemoModel, Estimate
from tamis.report import write_report
from tamis.report.demo import TERMS, demo_section


def test_cards_answer_what_happened(story):
    cards = {card.title: card for card in demo_section(story).cards}
    assert cards["What was simulated"].value == "300 QCD and 100 Z' to top quarks"
    assert cards["What was accepted"].value == "40 % of the signal, 4 % of the background"
    assert "4.0 ± 1.2 kHz" in cards["What was accepted"].text
    assert cards["How long it took"].value == "3 ms of 100 ms"
    assert "slowest took 7 ms" in cards["How long it took"].text
    assert cards["What the models add"].value == "1 of 2 models beat the best single variable"


def test_samples_are_shown_apart(story):
    menu, models = demo_section(story).tables
    assert menu.columns[3:] == ("QCD, events", "Z' to top quarks, events", "QCD, %", "Z' to top quarks, %")
    rows = [[cell.text for cell in row.cells] for row in menu.rows]
    assert rows[1] == ["top", "a jet like a top quark", "physics", "0", "40", "0.00", "40.00"]
    assert rows[-1][0] == "any path"
    assert [row.cells[6].text for row in models.rows] == ["better", "worse"]


def test_figures_show_the_budget_and_the_range_of_the_models(story):
    kept, time, models = (picture.figure.axes[0] for picture in demo_section(story).pictures)
    assert len(kept.patches) == 2 * (len(story.paths) + 1)
    low, high = time.get_xlim()
    assert low < story.p50_ms < story.budget_ms < high
    assert models.get_xlim()[0] < 0.5
    assert models.get_xlim()[1] > 1.0


def test_models_far_below_guessing_stay_in_the_frame(story):
    bad = story.models[0].model_copy(update={"auc": Estimate(value=0.12, error=0.01), "verdict": "worse"})
    section = demo_section(story.model_copy(update={"models": (DemoModel(**bad.model_dump()),)}))
    assert section.pictures[2].figure.axes[0].get_xlim()[0] < 0.12


def test_demo_without_models_or_accepted_events(story):
    empty = story.model_copy(
        update={
            "models": (),
            "rate": story.rate.model_copy(update={"hz": 0.0, "error_hz": 0.0, "upper_hz": 999.0}),
            "samples": tuple(
                s.model_copy(update={"accepted": 0, "paths": dict.fromkeys(s.paths, 0)})
                for s in story.samples
            ),
        }
    )
    section = demo_section(empty)
    assert len(section.pictures) == 2
    assert any("fewer than 999 Hz" in card.text for card in section.cards)


def test_words_of_the_other_tabs_are_explained():
    explained = " ".join(f"{term} {meaning}" for term, meaning in TERMS)
    for word in (
        "menu",
        "path",
        "prescale",
        "rate",
        "efficiency",
        "ROC",
        "AUC",
        "MET",
        "HT",
        "p99",
        "engine",
        "tau21",
    ):
        assert re.search(rf"\b{word}\b", explained), word


def test_page_is_drawn_from_the_record_alone(story, put, tmp_path):
    records = put(tmp_path / "records", story)
    assert [record for _, record in read_records([records])] == [story]
    text = write_report([records], tmp_path / "out").read_text(encoding="utf-8")
    assert "<title>tamis demo</title>" in text
    assert text.index("What was simulated") < text.index("What was accepted") < text.index("How long it took")
    assert "Words on these pages" in text
