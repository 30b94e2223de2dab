"""Rates of bunch crossings from samples in ranges of pT-hat: unbiased against crossings drawn directly; chains of menus."""

from __future__ import annotations

import json
import textwrap

import awkward as ak
import numpy as np
import pytest

from tamis._base import DocumentError, UsageError
from tamis.cli import main
from tamis.events import Events, write_events
from tamis.measure import load_samples, study_chain, study_rates
from tamis.measure.rates.path_rates import poisson_limit
from tamis.report.rates import chain_picture
from tamis.trigger import load_menu

COLLISIONS = 5.0
EDGE_GEV = 30.0
MENU = """
menu: {name}
thresholds: {{cut: {cut}}}
paths:
  hard: {{steps: [{quantity} > threshold('cut')], prescale: {prescale}}}
streams:
  all: {{paths: [hard]}}
"""


def pt_hats(rng, n: int, least: float = 0.0) -> np.ndarray:
    """Return pT-hats of a falling spectrum above `least`."""
    return least + rng.exponential(10.0, n)


def crossings(rng, own: np.ndarray, seed: int, weight: np.ndarray | None = None) -> Events:
    """Return collisions with Poisson pile-up around them; the trigger sees the sum of the two hardest."""
    n = len(own)
    others = rng.poisson(COLLISIONS, n)
    pile_up = ak.unflatten(pt_hats(rng, int(others.sum())), others)
    hardest = ak.fill_none(ak.max(pile_up, axis=1), 0.0).to_numpy()
    everything = ak.sort(ak.concatenate([pile_up, own[:, None]], axis=1), axis=1, ascending=False)
    return Events.of(
        {
            "run": np.full(n, seed, np.uint32),
            "luminosityBlock": np.ones(n, np.uint32),
            "event": np.arange(n, dtype=np.uint64),
            "Generator_binvar": own.astype("f4"),
            "Pileup_pthatmax": hardest.astype("f4"),
            "Pileup_nPU": others.astype("i4"),
            "genWeight": (np.ones(n) if weight is None else weight).astype("f4"),
            "tamis_cross_section_pb": np.full(
                n, 1000.0 * (np.exp(-EDGE_GEV / 10) if seed == 2 else 1.0), "f4"
            ),
            "seen": ak.sum(everything[:, :2], axis=1).to_numpy().astype("f4"),
            "second": ak.fill_none(ak.firsts(everything[:, 1:2]), 0.0).to_numpy().astype("f4"),
        }
    )


@pytest.fixture
def study(tmp_path):
    rng = np.random.default_rng(4)
    write_events(tmp_path / "soft.root", crossings(rng, pt_hats(rng, 40_000), 1))
    own = EDGE_GEV + rng.exponential(20.0, 20_000)  # more hard ones than there are, weighted back
    weight = 2.0 * np.exp(-(own - EDGE_GEV) / 20.0)
    write_events(tmp_path / "hard.root", crossings(rng, own, 2, weight))
    (tmp_path / "samples.yaml").write_text(
        textwrap.dedent(
            f"""
            collisions: {COLLISIONS}
            samples:
              soft: {{files: [soft.root], pt_hat_gev: [0, {EDGE_GEV}]}}
              hard: {{files: [hard.root], pt_hat_gev: [{EDGE_GEV}, null], weight: genWeight}}
            """
        )
    )

    def menu(name: str, quantity: str = "seen", cut: float = 60.0, prescale: int = 1):
        path = tmp_path / f"{name}.yaml"
        path.write_text(MENU.format(name=name, quantity=quantity, cut=cut, prescale=prescale))
        return load_menu(path)

    return menu, load_samples(tmp_path / "samples.yaml"), tmp_path


def direct(cut: float, quantity: str = "seen", crossings_drawn: int = 400_000) -> float:
    """Return the fraction of crossings above a cut, from crossings with a Poisson number of collisions."""
    rng = np.random.default_rng(9)
    counts = rng.poisson(COLLISIONS, crossings_drawn)
    drawn = ak.sort(ak.unflatten(pt_hats(rng, int(counts.sum())), counts), axis=1, ascending=False)
    first = ak.fill_none(ak.firsts(drawn), 0.0).to_numpy()
    second = ak.fill_none(ak.firsts(drawn[:, 1:]), 0.0).to_numpy()
    return float(np.mean((first + second if quantity == "seen" else second) > cut))


@pytest.mark.parametrize(
    ("quantity", "cut"), [("seen", 20.0), ("seen", 45.0), ("seen", 70.0), ("second", 25.0)]
)
def test_rates_are_those_of_crossings(study, quantity, cut):
    menu, samples, _ = study
    record = study_rates(menu("m", quantity, cut), samples, input_hz=40e6)
    rate = record.total
    expected = 40e6 * direct(cut, quantity)
    error = np.hypot(rate.error_hz, np.sqrt(expected * 40e6 / 400_000))
    assert abs(rate.hz - expected) < 4 * error
    assert rate.error_hz < 0.15 * rate.hz


def test_every_crossing_is_counted_once(study):
    menu, samples, _ = study
    whole = study_rates(menu("m", "seen", -1.0), samples, input_hz=1.0).total
    assert whole.hz == pytest.approx(1 - np.exp(-COLLISIONS), abs=4 * whole.error_hz)
    assert whole.error_hz < 0.01


def test_a_rare_process_has_the_rate_of_its_cross_section(study):
    menu, _, folder = study
    rng = np.random.default_rng(5)
    write_events(folder / "rare.root", crossings(rng, np.full(1000, 500.0), 3))
    listed = (folder / "samples.yaml").read_text() + "  rare: {files: [rare.root], cross_section_pb: 0.01}\n"
    (folder / "with.yaml").write_text(listed)
    record = study_rates(menu("m", "seen", 400.0), load_samples(folder / "with.yaml"), input_hz=40e6)
    assert record.total.hz == pytest.approx(40e6 * COLLISIONS * 0.01 / 1000.0, rel=1e-3)


def test_fewer_than_ten_effective_events_give_a_limit(study):
    menu, samples, _ = study
    cut = 118.0
    found = study_rates(menu("m", "seen", cut), samples, input_hz=40e6).total
    assert found.events > 10
    while found.effective_events >= 10:
        cut += 8.0
        found = study_rates(menu("m", "seen", cut), samples, input_hz=40e6).total
    assert found.upper_hz is not None
    assert found.upper_hz > found.hz
    assert found.text.startswith("< ")
    assert found.unseen_hz > 0  # the soft sample cannot say what it adds


def test_limits_of_poisson_means():
    found = [poisson_limit(n) for n in (0, 1, 3, 10)]
    assert found == pytest.approx([2.996, 4.744, 7.754, 16.962], rel=1e-2)


def test_a_chain_of_menus_multiplies(study):
    menu, samples, _ = study
    first, second = study_chain(
        [menu("l1", "seen", 30.0, prescale=4), menu("hlt", "seen", 50.0)], samples, input_hz=40e6
    )
    alone = study_rates(menu("hlt", "seen", 50.0), samples, input_hz=40e6)
    assert second.total.hz == pytest.approx(alone.total.hz / 4, rel=1e-6)
    assert [level.name for level in second.levels] == ["input", "l1", "hlt"]
    assert second.levels[1].rate.hz == pytest.approx(first.total.hz)
    assert second.levels[2].rate.hz == pytest.approx(second.total.hz)
    assert (
        second.paths[0].efficiency["soft"] > alone.paths[0].efficiency["soft"]
    )  # of the events that l1 accepts
    assert not first.levels
    picture = chain_picture(second)
    (axes,) = picture.figure.axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["hlt", "l1", "input"]
    assert any("MHz" in text.get_text() for text in axes.texts)
    assert "l1" in picture.alt


def test_the_command_writes_a_record_for_every_menu(study, capsys):
    menu, _, folder = study
    menu("l1", "seen", 30.0), menu("hlt", "seen", 60.0)
    arguments = [str(folder / "l1.yaml"), str(folder / "samples.yaml"), "--then", str(folder / "hlt.yaml")]
    with pytest.raises(SystemExit) as ended:
        main(["rates", *arguments, "--input-rate", "40MHz", "-o", str(folder / "out")])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert "what each level leaves" in printed
    last = json.loads((folder / "out" / "rates-2.json").read_text())
    assert [level["name"] for level in last["levels"]] == ["input", "l1", "hlt"]
    assert (folder / "out" / "index.html").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("samples:\n  a: {files: [a.root], pt_hat_gev: [0, null]}\n", "pt_hat_gev needs `collisions`"),
        (
            "collisions: 5\nsamples:\n  a: {files: [a.root], pt_hat_gev: [0, 20]}\n  b: {files: [b.root], pt_hat_gev: [30, null]}\n",
            r"must follow each other from 0 to null",
        ),
        ("collisions: 5\nsamples:\n  a: {files: [a.root]}\n", r"must follow each other from 0 to null"),
        (
            "samples:\n  a: {files: [a.root], pt_hat_gev: [30, 20]}\n",
            "the second number must be above the first",
        ),
    ],
)
def test_ranges_that_do_not_cover_the_crossings_are_rejected(tmp_path, text, message):
    (tmp_path / "samples.yaml").write_text(text)
    with pytest.raises(DocumentError, match=message):
        load_samples(tmp_path / "samples.yaml")


def test_a_background_of_unknown_cross_section_is_rejected(study):
    menu, _, folder = study
    write_events(
        folder / "bare.root",
        Events.of(
            {"seen": np.ones(4, "f4"), **dict.fromkeys(("run", "luminosityBlock", "event"), np.arange(4))}
        ),
    )
    (folder / "bare.yaml").write_text("samples:\n  qcd: {files: [bare.root]}\n")
    with pytest.raises(UsageError, match="the background sample qcd needs cross_section_pb"):
        study_rates(menu("m"), load_samples(folder / "bare.yaml"), input_hz=1.0)
