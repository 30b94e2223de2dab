"""What a student learns: the parent's score, its quantised logarithm, or a metric that a user wrote."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tamis._base import DataError, UsageError
from tamis.bundle import Bundle
from tamis.compress.task import run_bundle

LOG_STEPS = 32  # of the logarithm, as in CICADA: round(32 ln(score))
METRIC_ADVICE = "expected score, log-score, or a function in a file, as in FILE.py:FUNCTION"
Metric = Callable[[Mapping[str, np.ndarray], Mapping[str, np.ndarray]], np.ndarray]


@dataclass(frozen=True)
class Lesson:
    """What the student is to predict for some rows, and the numbers by which the parent decides about them."""

    target: np.ndarray
    decides: np.ndarray


@dataclass(frozen=True)
class Teacher:
    """A parent and the metric of it that is learned."""

    bundle: Bundle
    metric: str
    function: Metric | None

    @classmethod
    def of(cls, bundle: Bundle, metric: str) -> Teacher:
        """Return the teacher for a metric by name, or from a file of Python."""
        if metric in ("score", "log-score"):
            if bundle.manifest.score is None:
                raise UsageError(
                    f"the bundle {bundle.name} declares no score; pack it with --score, or distil a metric: {METRIC_ADVICE}"
                )
            return cls(bundle, metric, None)
        path, colon, name = metric.rpartition(":")
        if not colon or not path.endswith(".py"):
            raise UsageError(f"there is nothing to distil that is called {metric!r}; {METRIC_ADVICE}")
        return cls(bundle, metric, _load(Path(path), name))

    @property
    def unit(self) -> str:
        """What the student's score is, in words."""
        if self.function is not None:
            return f"the metric {self.metric.rpartition(':')[2]}"
        return (
            "the parent's score" if self.metric == "score" else f"round({LOG_STEPS} ln(the parent's score))"
        )

    def teach(self, inputs: Mapping[str, np.ndarray]) -> Lesson:
        """Run the parent on rows."""
        outputs = run_bundle(self.bundle, inputs)
        rows = len(next(iter(inputs.values())))
        if self.function is not None:
            value = self._call(inputs, outputs, rows)
            return Lesson(value, value)
        found = outputs[str(self.bundle.manifest.score)]
        if found.size != rows:
            raise UsageError(
                f"the score of {self.bundle.name} has {found.size // rows} numbers per row; a student predicts one: distil a metric of it"
            )
        score = found.reshape(rows).astype(np.float64)
        if self.metric == "score":
            return Lesson(score, score)
        positive = score > 0
        if not positive.all() and np.isfinite(score).all():
            raise DataError(
                f"the logarithm of the score needs positive scores; {int((~positive).sum())} of {rows} rows of {self.bundle.name} have "
                "none: distil the score itself (--distil score)"
            )
        with np.errstate(invalid="ignore", divide="ignore"):
            return Lesson(np.rint(LOG_STEPS * np.log(score)), score)

    def _call(
        self, inputs: Mapping[str, np.ndarray], outputs: Mapping[str, np.ndarray], rows: int
    ) -> np.ndarray:
        assert self.function is not None  # noqa: S101 - asked for by `teach`
        try:
            value = np.asarray(self.function(dict(inputs), dict(outputs)), dtype=np.float64)
        except Exception as error:
            raise UsageError(
                f"the metric {self.metric} fails with {type(error).__name__}: {error}; its inputs are {_shapes(inputs)}, "
                f"its outputs {_shapes(outputs)}"
            ) from error
        if value.shape not in ((rows,), (rows, 1)):
            raise UsageError(
                f"the metric {self.metric} returns an array of shape {value.shape} for {rows} rows; expected one number per row"
            )
        return value.reshape(rows)


def _load(path: Path, name: str) -> Metric:
    """Run a file that the user named, and return its function."""
    if not path.is_file():
        raise UsageError(f"there is no file {path} with a metric to distil; {METRIC_ADVICE}")
    spec = importlib.util.spec_from_file_location(f"tamis_metric_{path.stem}", path)
    assert spec is not None  # noqa: S101 - the name ends in .py
    assert spec.loader is not None  # noqa: S101
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UsageError(
            f"the file {path} of the metric fails with {type(error).__name__}: {error}"
        ) from error
    function = getattr(module, name, None)
    if not callable(function):
        known = [key for key, value in vars(module).items() if inspect.isfunction(value)]
        raise UsageError(f"{path} has no function {name!r}; it has {', '.join(known) or 'none'}")
    metric: Metric = function
    return metric


def _shapes(arrays: Mapping[str, np.ndarray]) -> str:
    return ", ".join(f"{name} {value.shape}" for name, value in arrays.items())
