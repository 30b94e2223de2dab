from __future__ import annotations

import numpy as np
import pytest

import tamis
from tamis._base import DataError, UsageError
from tamis.features import leading_jets
from tamis.measure import evaluate_bundle, read_records
from tamis.records import write_record


def test_evaluation_of_a_detector_is_reproducible_and_written_as_a_record(
    jet_bundle, jet_file, jet_events, tmp_path
):
    background, signal = jet_file("b.root", 60), jet_file("s.root", 40, first=1000)
    found = evaluate_bundle(jet_bundle, [str(background)], {"signal": [str(signal)]}, seed=1)
    assert found.background.events == 60
    assert (found.signals[0].name, found.signals[0].events) == ("signal", 40)
    variables = {f.variable for f in found.figures}
    assert {"score", "jet mass", "jet pT"} <= variables  # the files lack tau21 and the multiplicity
    assert "-tau21" not in variables
    scores = leading_jets(jet_events(60), jets=2).inputs[:, :, 2].sum(1)
    assert found.background.jets == len(scores)
    assert found.working_points["tight"]["background"] == pytest.approx(np.mean(scores > 150))
    again = evaluate_bundle(jet_bundle, [str(background)], {"signal": [str(signal)]}, seed=1)
    assert again.figures == found.figures
    path = write_record(found, tmp_path / "r" / "evaluation.json")
    assert read_records([path]) == [(path, found)]


def test_missing_signals_scores_and_jets_are_rejected(jet_bundle, bundle_of, jet_file):
    file = str(jet_file("b.root"))
    with pytest.raises(UsageError, match="needs at least one signal sample"):
        evaluate_bundle(jet_bundle, [file], {})
    with pytest.raises(UsageError, match="cannot be called 'background'"):
        evaluate_bundle(jet_bundle, [file], {"background": [file]})
    with pytest.raises(UsageError, match="declares no score to evaluate; pack it with --score"):
        evaluate_bundle(bundle_of("conv1d"), [file], {"s": [file]})
    with pytest.raises(DataError, match=r"the sample background .* has no jets to score"):
        evaluate_bundle(jet_bundle, [str(jet_file("none.root", 1))], {"s": [file]})
    assert tamis.Bundle.open(jet_bundle.path).name == "jets"
