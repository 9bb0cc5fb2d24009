"""What a difference looks like, in words, as far as it can be tried here."""

import importlib
from functools import cache
from typing import Any

from parity.align.frontier import Difference
from parity.align.lockstep import Walk


def explained(walk: Walk, found: Difference) -> str:
    """Return what a difference looks like, "" if no hypothesis gives JAX's numbers.

    The hypotheses run PyTorch's operations again. Where a record is compared, PyTorch may be missing.
    """
    full = _with_torch()
    return full.explained(walk, found) if full is not None else ""


@cache
def _with_torch() -> Any:
    try:
        return importlib.import_module("parity.align.explain")
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        return None
