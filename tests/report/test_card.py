from __future__ import annotations

from tamis.report import write_card


def test_better_baselines_are_listed(bundle, evaluation) -> None:
    lines = write_card(bundle, evaluation).splitlines()
    lost = next(line for line in lines if line.startswith("- z-prime-tt, AUC"))
    assert "**the detector (0.7000 ± 0.0100) loses to** jet mass (0.9500 ± 0.0100)" in lost
    assert "-tau21 (0.7050 ± 0.0100, within the errors)" in lost
    assert "multiplicity" not in lost


def test_every_signal_and_figure_of_merit_is_compared(bundle, evaluation) -> None:
    text = write_card(bundle, evaluation)
    for signal in ("graviton-ww", "z-prime-tt"):
        for figure in (
            "AUC",
            "signal efficiency at background 0.01",
            "signal efficiency at background 0.001",
        ):
            assert text.count(f"- {signal}, {figure}: ") == 1
    assert "- graviton-ww, AUC: no baseline is ahead of the detector (0.9000 ± 0.0100)." in text


def test_tables_have_score_and_baselines(bundle, evaluation) -> None:
    text = write_card(bundle, evaluation)
    assert "| **score** | 0.9000 ± 0.0100 | 0.2250 ± 0.0100 | 0.0450 ± 0.0200 |" in text
    for name in ("jet mass", "-tau21", "multiplicity", "-multiplicity", "jet pT"):
        assert text.count(f"| {name} |") == 2


def test_card_has_provenance_samples_and_thresholds(bundle, evaluation) -> None:
    text = write_card(bundle, evaluation)
    assert bundle.manifest.files["model.onnx"].sha256 in text
    assert "| jets | input | float32 | N×100×3 | GeV |" in text
    assert "| seed | 7 |" in text
    assert "| background | background.root | 250 | 500 |" in text
    assert "| background-0.01 | 3.5 | 0.01 (test jets) | 0.0102 | 0.2250 | 0.1700 |" in text


def test_figures_from_few_background_jets_are_flagged(bundle, evaluation) -> None:
    assert "fewer than 10 are above the threshold at background 0.01, 0.001" in write_card(bundle, evaluation)
    many = evaluation.background.model_copy(update={"jets": 100_000})
    assert "not reliable" not in write_card(bundle, evaluation.model_copy(update={"background": many}))


def test_training_files_among_the_samples_are_flagged(bundle, evaluation) -> None:
    assert "not of independent events" not in write_card(bundle, evaluation)
    same = evaluation.background.model_copy(update={"files": ("/data/qcd_train.root",)})
    text = write_card(bundle, evaluation.model_copy(update={"background": same}))
    assert "qcd_train.root" in text
    assert "not of independent events" in text


def test_missing_baselines_are_listed(bundle, evaluation) -> None:
    figures = tuple(f for f in evaluation.figures if f.variable != "-tau21")
    text = write_card(bundle, evaluation.model_copy(update={"figures": figures}))
    assert "the files lack the columns: -tau21" in text
