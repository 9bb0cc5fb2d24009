"""What a difference looks like, in words, as far as it can be tried here."""

import importlib
from functools import cache
from typing import Any, NamedTuple

from parity.align.frontier import Difference
from parity.align.lockstep import Walk
from parity.align.plain_words import plain_words


class Looks(NamedTuple):
    """What a difference looks like."""

    words: str = ""  # "": no hypothesis gives JAX's numbers
    given: int | None = None  # PyTorch's value that JAX hands on, if it leaves an operation out
    op: int | None = None  # that operation, if it is before the one at which the two part


def explained(walk: Walk, found: Difference) -> Looks:
    """Return what a difference looks like.

    Most hypotheses run PyTorch's operations again. Where a record is compared, PyTorch may be missing: then those are
    tried that numpy can compute.
    """
    full = _with_torch()
    if full is not None:
        return full.explained(walk, found)
    try:
        return Looks(plain_words(walk, found))
    except Exception:  # an explanation is a help: nothing depends on it
        return Looks()


def all_tried() -> bool:
    """Tell whether all hypotheses can be tried here."""
    return _with_torch() is not None


@cache
def _with_torch() -> Any:
    try:
        return importlib.import_module("parity.align.explain")
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        return None
