"""Jet images against a slow reference."""

from __future__ import annotations

import awkward as ak
import numpy as np

from tamis.events import Events
from tamis.features import find_feature, find_inputs, input_rows
from tamis.features.jet_images import JET_IMAGE_PIXELS as SIZE
from tamis.features.jet_images import JET_IMAGE_REACH as REACH


def events_with(seed: int, count: int) -> Events:
    rng = np.random.default_rng(seed)
    candidates = rng.integers(3, 9, count)
    total = int(candidates.sum())

    def lists(values):
        return ak.unflatten(values, candidates)

    kind = rng.choice([211, 22, 130, 11], total)
    of_jets = {"pt": [300.0, 200.0, 50.0], "eta": [0.3, -1.0, 2.0], "phi": [3.1, 0.0, 1.0]}
    return Events.of(
        {
            "run": np.ones(count, int),
            "luminosityBlock": np.ones(count, int),
            "event": np.arange(count),
            **{
                f"FatJet_{k}": ak.Array(np.tile(np.array(v, "f4"), (count, 1)).tolist())
                for k, v in of_jets.items()
            },
            "FatJetPFCands_jetIdx": lists(rng.integers(0, 3, total)),
            "FatJetPFCands_pFCandsIdx": ak.local_index(lists(kind)),
            "PFCands_pt": lists(rng.exponential(5.0, total).astype("f4")),
            "PFCands_eta": lists(rng.uniform(-1.5, 1.5, total).astype("f4")),
            "PFCands_phi": lists(rng.uniform(-np.pi, np.pi, total).astype("f4")),
            "PFCands_pdgId": lists(kind),
            "PFCands_charge": lists(np.isin(kind, (211, 11)).astype(int)),
        }
    )


def slow_images(events: Events) -> np.ndarray:
    """Return the images from a loop over events, jets and candidates."""
    images = []
    for event in events.array.to_list():
        for jet in range(2):
            image = np.zeros((3, SIZE, SIZE))
            links = zip(event["FatJetPFCands_jetIdx"], event["FatJetPFCands_pFCandsIdx"], strict=True)
            for c in [candidate for owner, candidate in links if owner == jet]:
                gap = event["PFCands_phi"][c] - event["FatJet_phi"][jet]
                gap -= 2 * np.pi * round(gap / (2 * np.pi))
                place = [event["PFCands_eta"][c] - event["FatJet_eta"][jet], gap]
                i, j = (int(np.floor((x + REACH) * SIZE / (2 * REACH))) for x in place)
                channel = 0 if event["PFCands_charge"][c] else (1 if event["PFCands_pdgId"][c] == 22 else 2)
                if 0 <= i < SIZE and 0 <= j < SIZE:
                    image[channel, i, j] += event["PFCands_pt"][c]
            images.append(image)
    return np.array(images)


def test_images_agree_with_the_slow_reference():
    events = events_with(1, 30)
    feature = find_feature("jet_images")
    found = input_rows(find_inputs({"frames": "jet_images"}), events)
    np.testing.assert_allclose(found.inputs["frames"], slow_images(events), rtol=1e-6)
    assert found.inputs["frames"].any(axis=(0, 2, 3)).all()
    assert found.event.tolist() == np.repeat(np.arange(30), 2).tolist()
    assert set(found.about) == set(feature.about)
    np.testing.assert_array_equal(found.about["pt"], np.tile([300.0, 200.0], 30))
