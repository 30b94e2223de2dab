"""The instruction sets that code is generated for: each is one module that defines a `Target`, and its C header."""

from __future__ import annotations

import os
import platform
from dataclasses import replace
from importlib import import_module
from pkgutil import iter_modules

from tamis._base import UsageError, did_you_mean, host_facts
from tamis.native.targets.target import Target

__all__ = ["NATIVE_TARGETS", "Target", "discover_targets", "find_target", "host_target", "targets_of"]


def discover_targets() -> tuple[Target, ...]:
    """Return the targets that the modules of this package define: wider vectors first, then those that need more of a processor."""
    modules = [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__)]
    values = (value for module in modules for value in vars(module).values())
    found = {value.name: value for value in values if isinstance(value, Target)}
    return tuple(
        sorted(found.values(), key=lambda one: (-one.lanes, -len(one.needs), not one.machine, one.name))
    )


NATIVE_TARGETS = discover_targets()


def targets_of(machine: str = "") -> tuple[Target, ...]:
    """Return the targets that compile for a machine, this one if none is named."""
    machine = machine or platform.machine()
    return tuple(target for target in NATIVE_TARGETS if target.machine in ("", machine))


def host_target() -> Target:
    """Return the best target that this host's processor runs, with the size of its first-level cache."""
    features = set(host_facts().instruction_sets)
    found = next(target for target in targets_of() if features.issuperset(target.needs))
    try:
        near = os.sysconf("SC_LEVEL1_DCACHE_SIZE")
    except (AttributeError, ValueError, OSError):
        near = 0
    return replace(found, near=near) if near > 0 else found


def find_target(name: str) -> Target:
    """Return a target by name."""
    for target in NATIVE_TARGETS:
        if target.name == name:
            return target
    hint = did_you_mean(name, [target.name for target in NATIVE_TARGETS])
    raise UsageError(f"no instruction set is called {name!r}; {hint}".rstrip("; "))
