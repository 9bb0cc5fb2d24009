"""Do both workers compute the same thing? Their first steps and logits, and what all steps have done to the weights."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from parity.compare import relative_error, whole_error
from parity.copy import flatten, is_flax, to_flax

# Of the logits; then of losses, norms of gradients, and weights after the first steps. In float32 these are the bounds
# of `parity check`'s forward pass and gradients; TF32 and bfloat16 have 10 and 7 bits for 23.
BOUNDS = {"float32": (1e-5, 1e-4), "tf32": (1e-2, 1e-2), "bfloat16": (1e-1, 1e-1)}


class First(NamedTuple):
    """What one side's first steps came to."""

    logits: np.ndarray  # (examples, classes), of the first weights
    losses: np.ndarray  # (steps,)
    norms: np.ndarray  # (steps,) of all gradients
    weights: dict[str, np.ndarray]  # after the steps, by Flax's path


class Agreement(NamedTuple):
    """How far apart two sides' first steps are, relative to PyTorch's."""

    logits: float
    losses: float
    norms: float
    weights: float
    ok: bool


class Change(NamedTuple):
    """What all steps of one side have done to its parameters, as counts of tensors."""

    trained: int
    changed: int  # of these
    needless: int  # of those that have not changed, biases: before a BatchNorm they have no gradient (trap 28)
    frozen_changed: int  # frozen ones that have changed: none may
    finite: bool

    @property
    def ok(self) -> bool:
        """Whether all that has a gradient has changed and nothing else, and all are numbers."""
        whole = 0 < self.changed == self.trained - self.needless
        return whole and not self.frozen_changed and self.finite


def first_of(answer: Mapping[str, Any], logits: Sequence[Any], weights: Mapping[str, np.ndarray]) -> First:
    """Return a worker's answer as arrays; the weights may be named by either framework."""
    steps = {name: np.array([step[name] for step in answer["steps"]]) for name in ("loss", "grad_norm")}
    return First(np.array(logits), steps["loss"], steps["grad_norm"], by_path(weights))


def by_path(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return stored weights by Flax's path, whichever framework wrote them."""
    return dict(weights) if is_flax(weights) else flatten(to_flax(weights))


def compare_first(theirs: First, ours: First, precision: str) -> Agreement:
    """Compare PyTorch's first steps with Flax's; `precision` is a name in `BOUNDS`."""
    floats = {name: array for name, array in theirs.weights.items() if np.issubdtype(array.dtype, np.floating)}
    found = (
        relative_error(theirs.logits, ours.logits),
        relative_error(theirs.losses, ours.losses),
        relative_error(theirs.norms, ours.norms),
        whole_error(floats, ours.weights) if floats.keys() <= ours.weights.keys() else float("inf"),
    )
    of_logits, others = BOUNDS[precision]
    ok = found[0] <= of_logits and all(error <= others for error in found[1:])
    return Agreement(*(float(error) for error in found), ok)


def change(before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray], trained: Collection[str]) -> Change:
    """Compare a side's parameters before all steps and after; `trained` are the layers that are to change."""
    params = [path for path in before if path.startswith("params/")]
    moved = {path for path in params if not np.array_equal(before[path], after[path])}
    wanted = {path for path in params if path.split("/")[1] in trained}
    biases = {path for path in wanted - moved if path.endswith("/bias") and _kernel_of(path) in moved}
    finite = all(bool(np.isfinite(array).all()) for array in after.values())
    return Change(len(wanted), len(wanted & moved), len(biases), len(moved - wanted), finite)


def _kernel_of(bias: str) -> str:
    return f"{bias.removesuffix('bias')}kernel"
