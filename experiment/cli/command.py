"""Running a command: errors as one line, exit codes, and importing the framework.

The framework is imported only after the command line has been parsed, so that `--help` does not wait for it.
"""

import importlib
import signal
import sys
from collections.abc import Callable
from typing import Any

from data import UserError
from experiment.backend import Backend
from experiment.extras import needs_torch
from experiment.loop.signals import SIGNALLED


def command(main: Callable[[], int]) -> None:
    """Run a command: what the user can put right is one line on stderr and exit code 1, no traceback."""
    try:
        sys.exit(main())
    except UserError as error:
        # In one write, which `sys.exit` does not: another process of the same training may end this one in between.
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)
    except KeyboardInterrupt:
        print("interrupted: nothing more is saved", file=sys.stderr)
        sys.exit(SIGNALLED + signal.SIGINT)


def load_framework(framework: str) -> Backend:
    """Import and return `<framework>.loop`.

    Raises:
        UserError: torch is not installed; says which extra to install.
    """
    try:
        module: Any = importlib.import_module(f"{framework}.loop")
        return module
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "torch":
            raise
        raise needs_torch(framework) from None
