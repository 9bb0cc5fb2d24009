"""Imports of a command that may find one framework alone."""

import importlib
from types import ModuleType
from typing import Any

from data.errors import UserError


def load(module: str, framework: str = "", what: str = "") -> ModuleType:
    """Import `parity.<module>`: only now, as the other framework may be missing."""
    try:
        return importlib.import_module(f"parity.{module}")
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if not framework or missing not in (framework, "jaxlib", "flax"):
            raise
        raise UserError(
            f"{what} needs {missing}, which is not installed: pip install 'jaxnets[{framework}]'"
        ) from None


def on_cpu() -> Any:
    """Let JAX use the CPU unless JAX_PLATFORMS names another device: set before JAX is imported."""
    pool = load("commands.pool")
    return pool.set_defaults(pool.DEVICE)
