"""Training on a CUDA device, if there is one."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device"),
]


@pytest.mark.parametrize("model", ["conv-vae", "graph-vae"])
def test_a_detector_trained_on_a_gpu_verifies_on_cpu(tmp_path, model):
    from tamis.measure import verify
    from tamis.zoo import TrainingOptions, train

    rng = np.random.default_rng(0)
    jets = np.zeros((400, 100, 3), np.float32)
    jets[:, :40, :2] = rng.normal(0, 0.2, (400, 40, 2))
    jets[:, :40, 2] = -np.sort(-rng.exponential(8, (400, 40)) - 0.5)
    np.save(tmp_path / "jets.npy", jets)
    options = TrainingOptions(epochs=2, device="cuda")
    packed = train(model, [str(tmp_path / "jets.npy")], tmp_path / "m.tamis", options)
    assert verify(packed.bundle, "onnxruntime").passed


@pytest.mark.parametrize("model", ["topology-gru", "topology-both"])
def test_a_classifier_trained_on_a_gpu_verifies_on_cpu_and_resumes(tmp_path, lepton_file, model):
    from tamis.measure import verify
    from tamis.zoo import TrainingOptions, train

    files = {name: [str(lepton_file(name, 60, seed))] for seed, name in enumerate(("qcd", "w", "ttbar"))}
    for epochs, resume in ((1, False), (2, True)):
        options = TrainingOptions(epochs=epochs, batch=32, device="cuda", resume=resume)
        packed = train(model, files, tmp_path / "m.tamis", options)
    assert packed.bundle.manifest.training["best_epoch"] in (1, 2)
    assert verify(packed.bundle, "onnxruntime").passed
