"""The scikit-learn example of the docs runs with the libraries themselves, in an environment of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "pack-a-model.md"


def run(*command, folder):
    return subprocess.run(
        [str(part) for part in command], cwd=folder, capture_output=True, text=True, timeout=600, check=False, env=os.environ
    )  # fmt: skip


@pytest.mark.slow
def test_the_scikit_learn_example_converts_and_packs(tmp_path):
    text = PAGE.read_text(encoding="utf-8")
    packages = re.search(r"`pip\s+install (scikit-learn skl2onnx)`", text)[1].split()
    code = re.search(r'```py title="convert\.py"\n(.*?)```', text, re.DOTALL)[1]
    command = re.search(r"^tamis (pack model\.onnx .*)$", text, re.MULTILINE)[1].split()
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    installed = run(python, "-m", "pip", "install", "-q", *packages, "onnx", folder=tmp_path)
    if installed.returncode:
        pytest.skip(f"scikit-learn cannot be installed here: {installed.stderr.strip().splitlines()[-1]}")
    predict = 'print(model.predict_proba(X[:200])[:, 1].astype("float64").tolist())\n'
    (tmp_path / "convert.py").write_text(code + predict)
    converted = run(python, "convert.py", folder=tmp_path)
    assert converted.returncode == 0, converted.stderr
    packed = run(sys.executable, "-m", "tamis", *command, folder=tmp_path)
    assert packed.returncode == 0, packed.stderr
    assert re.search(r"probabilities_1 +float32  N +the score", packed.stdout)
    import json

    import numpy as np

    import tamis

    expected = np.array(json.loads(converted.stdout))
    rows = np.load(tmp_path / "sample.npz")["X"]
    with tamis.open(tmp_path / "sklearn.tamis") as session:
        found = session.run(X=rows)["probabilities_1"]
    np.testing.assert_allclose(found, expected, atol=1e-5)
