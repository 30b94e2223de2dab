"""The engine plan of a bundle for a host: the engine for each batch size, and the measurements behind the choice."""

from __future__ import annotations

import hashlib

from tamis._base import DataError, Host, host_facts, parse_document
from tamis.bundle import Bundle
from tamis.records import EnginePlan


def fingerprint(host: Host | None = None) -> str:
    """Return a 12-digit hash of the host's processor, instruction sets and cache size: what a plan depends on."""
    facts = host or host_facts()
    parts = (facts.cpu, *sorted(facts.instruction_sets), str(facts.largest_cache_bytes))
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:12]


def plan_name(host: Host | None = None) -> str:
    """Return the file name of a host's plan in a bundle."""
    return f"plan-{fingerprint(host)}.json"


def read_plan(bundle: Bundle) -> EnginePlan | None:
    """Return the plan for this host, or None if the bundle has none or its model has changed since."""
    name = plan_name()
    if name not in bundle.manifest.files:
        return None
    plan = parse_document(bundle.text(name), EnginePlan, f"{bundle.path / name}")
    if not plan.choices:
        raise DataError(f"{bundle.path / name}: field choices is empty; run `tamis tune` again")
    return plan if plan.model == bundle.manifest.files["model.onnx"].sha256 else None


def other_plans(bundle: Bundle) -> list[str]:
    """Return the file names of the plans for other hosts in a bundle."""
    return [name for name in bundle.manifest.files if name.startswith("plan-") and name != plan_name()]
