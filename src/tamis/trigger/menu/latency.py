"""The fixed latency of the paths of a Level-1 menu, from the proven firmware of its bundles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tamis._base import UsageError, VerificationError
from tamis.bundle import FIRMWARE_FILE, Bundle
from tamis.bundle.store import MODEL_FILE
from tamis.records import FirmwareRecord
from tamis.trigger.menu.documents import Hardware, Menu, format_ns


@dataclass(frozen=True)
class PathLatency:
    """The latency of one path: that of its models in firmware, one after another, and the menu's `other`."""

    models_ns: float
    other_ns: float

    @property
    def whole_ns(self) -> float:
        """Return the sum."""
        return self.models_ns + self.other_ns


def stage_firmware(bundle: Bundle, hardware: Hardware) -> FirmwareRecord:
    """Return the record of a bundle's firmware, after checking that it is proven, of this model, and fast enough."""
    remedy = f"run `tamis firmware {bundle.name} --verify --clock {hardware.clock / 1e6:g}MHz --into-bundle`"
    if FIRMWARE_FILE not in bundle.manifest.files:
        raise UsageError(f"the bundle {bundle.name} has no proven firmware ({FIRMWARE_FILE}): {remedy}")
    record = FirmwareRecord.model_validate_json(bundle.text(FIRMWARE_FILE))
    if record.checksum != bundle.manifest.files[MODEL_FILE].sha256:
        raise VerificationError(
            f"the firmware recorded in the bundle {bundle.name} is of another model: {remedy}"
        )
    if not any(one.what == "RTL" and not one.differing for one in record.agreement):
        raise VerificationError(
            f"the firmware recorded in the bundle {bundle.name} was not compared with its emulation: {remedy}"
        )
    if record.clock_mhz * 1e6 != hardware.clock:
        raise UsageError(
            f"the firmware recorded in the bundle {bundle.name} is for a clock of {record.clock_mhz:g} MHz, that of the menu is "
            f"{hardware.clock / 1e6:g} MHz: {remedy}"
        )
    if record.initiation_interval * hardware.crossings > hardware.clock:
        raise UsageError(
            f"the firmware of the bundle {bundle.name} takes an event every {record.initiation_interval} cycles of {record.clock_mhz:g} MHz, "
            f"which is slower than the {hardware.crossings / 1e6:g} MHz of the crossings: use a smaller --reuse"
        )
    return record


def path_latency(menu: Menu, path: str, models: Sequence[FirmwareRecord]) -> PathLatency:
    """Return the latency of a path; raises UsageError if it exceeds the budget of the path or of the menu."""
    assert menu.hardware is not None  # noqa: S101 - of a Level-1 menu
    found = PathLatency(sum(one.latency_ns for one in models), menu.hardware.other or 0)
    budgets = [one for one in (menu.budget, menu.paths[path].budget) if one is not None]
    if budgets and found.whole_ns > min(budgets):
        slowest = max(models, key=lambda one: one.latency_ns, default=None)
        details = f", {slowest.bundle} takes {slowest.latency_ns:.1f} ns" if slowest else ""
        raise UsageError(
            f"its latency is {found.models_ns:.1f} ns of models and {found.other_ns:.0f} ns of everything else, the budget is "
            f"{format_ns(min(budgets))}{details}: use smaller models or a faster clock"
        )
    return found
