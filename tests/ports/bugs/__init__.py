"""The bugs planted in the pairs of `tests/ports`, a file for each pair, found by its name."""

from importlib import import_module

from tests.ports import NAMES
from tests.ports.bugs.bug import Bug

__all__ = ["BUGS", "Bug"]

BUGS: tuple[Bug, ...] = tuple(bug for name in NAMES for bug in import_module(f"tests.ports.bugs.{name}").BUGS)
