"""The plan of a bundle for a host: which engine does which batch size, and what was measured of all of them."""

from __future__ import annotations

import hashlib

from tamis._base import DataError, Host, host_facts, parse_document
from tamis.bundle import Bundle
from tamis.records import EnginePlan


def fingerprint(host: Host | None = None) -> str:
    """Return what a plan depends on of a host, in few letters: its processor, what that can do, and its caches."""
    facts = host or host_facts()
    parts = (facts.cpu, *sorted(facts.instruction_sets), str(facts.largest_cache_bytes))
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:12]


def plan_name(host: Host | None = None) -> str:
    """Return the name of the file in a bundle that holds the plan for a host."""
    return f"plan-{fingerprint(host)}.json"


def read_plan(bundle: Bundle) -> EnginePlan | None:
    """Return the plan for this host, or None where the bundle has none, or one for another model."""
    name = plan_name()
    if name not in bundle.manifest.files:
        return None
    plan = parse_document(bundle.text(name), EnginePlan, f"{bundle.path / name}")
    if not plan.choices:
        raise DataError(f"{bundle.path / name}: field choices is empty; make the plan anew with `tamis tune`")
    return plan if plan.model == bundle.manifest.files["model.onnx"].sha256 else None


def other_plans(bundle: Bundle) -> list[str]:
    """Return the plans of a bundle that are for other hosts."""
    return [name for name in bundle.manifest.files if name.startswith("plan-") and name != plan_name()]
