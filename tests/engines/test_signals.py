"""A signal interrupts a process that has used every engine, and does not crash it."""

from __future__ import annotations

import subprocess
import sys

import pytest

USE_AND_INTERRUPT = """
import signal
import tamis
from tamis.measure import verify

for engine in ("onnxruntime", "openvino", "torch", "native"):
    assert verify("facile", engine).passed
    with tamis.open("facile", engine) as session:
        session(session.bundle.golden.inputs["channels"])
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""


def test_interrupt_after_every_engine_does_not_crash():
    pytest.importorskip("openvino")
    pytest.importorskip("torch")
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", USE_AND_INTERRUPT],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr
