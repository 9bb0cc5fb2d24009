"""Registries: discovery of datasets and networks, lookup by name, and the error for an unknown name."""

import difflib
import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from data.errors import UserError

T = TypeVar("T")


def discover(package: str, attribute: str) -> dict[str, Any]:
    """Merge the dicts named `attribute` of all modules in `package`.

    Raises:
        RuntimeError: two modules register the same name.
    """
    found: dict[str, Any] = {}
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        entries = getattr(importlib.import_module(f"{package}.{module.name}"), attribute)
        if clash := found.keys() & entries.keys():
            raise RuntimeError(f"{package}.{module.name} registers {sorted(clash)} a second time")
        found |= entries
    return dict(sorted(found.items()))


def unknown(kind: str, name: str, known: Iterable[str]) -> UserError:
    """Return the error for an unknown name; it suggests the nearest known name and lists all."""
    known = sorted(known)
    return UserError(f"unknown {kind} '{name}'.{nearest(name, known)} Known: {', '.join(known)}")


def nearest(name: str, known: Iterable[str]) -> str:
    """Return " Did you mean '...'?", or an empty string if no known name is similar."""
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.5)
    return f" Did you mean '{near[0]}'?" if near else ""


def lookup(kind: str, name: str, registry: Mapping[str, T]) -> T:
    """Return `registry[name]`.

    Raises:
        UserError: there is no such name; see `unknown`.
    """
    if name not in registry:
        raise unknown(kind, name, registry)
    return registry[name]
