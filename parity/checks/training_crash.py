"""A side that fails in training mode alone: it passes every check in evaluation mode, and cannot be trained.

Neither framework is imported: a side may be a record.
"""

from typing import TYPE_CHECKING

import numpy as np

from parity.report import Failure, Result
from parity.sides.crashes import Crash

if TYPE_CHECKING:
    from parity.checks.training_mode import Both

CHECK = "training mode"


def crashed(both: "Both") -> Result | None:
    """Call both sides in training mode as they are; return what is said if one of them raises.

    One that raises alone is a failure, unless PyTorch's module says that it cannot be trained.
    """
    ours, theirs = both.torch.crash(), both.jax.crash()
    if ours is None and theirs is None:
        return None
    if ours is not None and theirs is not None:
        return _not_compared(f"neither side can be called: PyTorch raises {ours.words}; JAX raises {theirs.words}")
    if ours is not None and ours.refused:
        return _not_compared(f"PyTorch's module refuses it: {ours.words}")
    if ours is not None:
        return _failure(f"PyTorch raises in training mode, JAX does not: {ours.words}", ours, None)
    assert theirs is not None
    return _failure(f"JAX raises in training mode, PyTorch does not: {theirs.words}", None, theirs)


def _not_compared(why: str) -> Result:
    return Result(CHECK, 0.0, 0, "", f"not compared in training mode: {why}")


def _failure(words: str, ours: Crash | None, theirs: Crash | None) -> Result:
    lines = ours and ours.line, theirs and theirs.line
    return Result(CHECK, np.inf, 0, "output", "", Failure(CHECK, "forward", "output", np.inf, 0, words, None, *lines))
