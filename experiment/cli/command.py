"""Importing the framework of a command: only once the command line has been parsed, so that `--help` is quick."""

import importlib
from typing import Any

from data import UserError
from experiment.backend import Backend
from experiment.extras import needs_torch


def load_framework(framework: str) -> Backend:
    """Import and return `<framework>.loop`.

    Raises:
        UserError: torch is not installed; says which extra to install. Or an environment variable is invalid.
    """
    try:
        module: Any = importlib.import_module(f"{framework}.loop")
        return module
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "torch":
            raise
        raise needs_torch(framework) from None
    except ValueError as error:  # JAX reads its environment variables as it is imported
        raise UserError(f"{framework} cannot be imported: {error}") from None
