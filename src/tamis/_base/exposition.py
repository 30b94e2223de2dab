"""Prometheus' text format of metrics."""

from __future__ import annotations

EXPOSITION_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def metric_family(name: str, kind: str, description: str) -> list[str]:
    """Return the lines that introduce the samples of one metric."""
    return [f"# HELP {name} {description}", f"# TYPE {name} {kind}"]


def metric_labels(**labels: str) -> str:
    """Return labels of a sample, with what has a meaning in the format escaped."""
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
