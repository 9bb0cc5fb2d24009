"""What a difference looks like, in words, as far as it can be tried here."""

import importlib
from functools import cache
from typing import Any, NamedTuple

from parity.align.frontier import Difference
from parity.align.lockstep import Walk


class Looks(NamedTuple):
    """What a difference looks like."""

    words: str = ""  # "": no hypothesis gives JAX's numbers
    given: int | None = None  # PyTorch's value that JAX hands on, if it leaves an operation out


def explained(walk: Walk, found: Difference) -> Looks:
    """Return what a difference looks like.

    The hypotheses run PyTorch's operations again. Where a record is compared, PyTorch may be missing.
    """
    full = _with_torch()
    return full.explained(walk, found) if full is not None else Looks()


@cache
def _with_torch() -> Any:
    try:
        return importlib.import_module("parity.align.explain")
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        return None
