"""The known networks: every file of this folder registers its own, and so may a file of yours."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from typing import TypeVar, overload

from tamis._base import UsageError, did_you_mean, require
from tamis.zoo.networks.description import NetworkSpec

Spec = TypeVar("Spec", bound=NetworkSpec)

_registered: dict[str, NetworkSpec] = {}


def register(network: Spec) -> Spec:
    """Make a network known by its name, and return it."""
    if network.name in _registered:
        raise UsageError(f"a network called {network.name!r} is registered already; choose another name")
    _registered[network.name] = network
    return network


@overload
def known_networks() -> Mapping[str, NetworkSpec]: ...
@overload
def known_networks(kind: type[Spec]) -> Mapping[str, Spec]: ...
def known_networks(kind: type[NetworkSpec] = NetworkSpec) -> Mapping[str, NetworkSpec]:
    """Return the registered networks of a kind by name, sorted; importing their files needs torch."""
    require("torch", extra="torch", purpose="building and training networks")
    package = importlib.import_module("tamis.zoo.networks")
    for module in pkgutil.iter_modules(package.__path__, "tamis.zoo.networks."):
        importlib.import_module(module.name)
    return {name: spec for name, spec in sorted(_registered.items()) if isinstance(spec, kind)}


def find_network(name: str) -> NetworkSpec:
    """Return a network by name; an unknown name raises an error with close matches."""
    known = known_networks()
    if name not in known:
        raise UsageError(f"no reference model is called {name!r}; {did_you_mean(name, known)}".rstrip("; "))
    return known[name]
