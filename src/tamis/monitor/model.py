"""What a bundle of a monitor holds beside its graph: what is watched, and the limits of each beam mode."""

from __future__ import annotations

from tamis._base import BundleError, Document, parse_document
from tamis.bundle import Bundle
from tamis.monitor.watch import Watch

MONITOR_FILE = "monitor.json"


class StepLimits(Document):
    """Above which values a step raises an alarm, and what the steps of good blocks scatter."""

    alone: float  # of the score
    pair: float  # of the scores of two steps, one after the other
    first: float  # of the scores in the first block of a run
    events: float  # of a typical step
    covariance: list[list[float]]  # of the changes of steps, for the features that they have


class ModeLimits(Document):
    """Above which values a block of one mode is bad, and what good blocks scatter."""

    within: float  # of the score
    within_interval: tuple[float, float] | None = None  # at 95 %, by the blocks of the training
    between: float  # of the score of the first block of a run
    events: float  # of a typical block
    most: dict[str, list[int]]  # of each count, in bins of the condition: the smallest number that is a burst
    most_edges: list[float]  # of these bins
    blocks: int  # that it was trained on
    scale: list[float]  # of the features
    covariance: list[list[float]]  # of the changes of good blocks within a run, in units of the scale
    later_covariance: list[list[float]]  # of their changes against an old reference
    steps: StepLimits | None = None  # without them, only bursts raise alarms
    # Standard deviations of the changes from run to run, in units of the scale; older models do not have them.
    between_spread: tuple[float, ...] = ()


class MonitorModel(Document):
    """The monitor of one watch."""

    watch: Watch
    detector: str = "template"
    modes: dict[int, ModeLimits]
    streams: list[str]  # that it was trained on


def monitor_of(bundle: Bundle) -> MonitorModel:
    """Return what a bundle watches."""
    if MONITOR_FILE not in bundle.manifest.files:
        raise BundleError(
            f"{bundle.path} is not the model of a monitor: train one with `tamis train lar-template`"
        )
    return parse_document(bundle.text(MONITOR_FILE), MonitorModel, str(bundle.path / MONITOR_FILE))
