"""Bugs planted in the trainings of this folder: those of all modules here, in the order of their names."""

import importlib
import pkgutil

from tests.trainings.bug import Bug

MODULES = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
BUGS: tuple[Bug, ...] = tuple(bug for module in MODULES for bug in module.BUGS)
__all__ = ["BUGS", "Bug"]
