"""Do both workers compute the same? Their first logits and steps, and what all steps have done to the weights.

`parity check` has shown, in float64, that both are the same network and the same training. What could still differ is
what the workers were given: weights, batches, options, precision. Then these figures are near 1.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from parity.compare import relative_error, total_norm
from parity.copy import flatten, is_flax, to_flax

# Of logits, first loss, first norm of the gradients, and of what the first steps have added to the weights. In float32
# the first three are those of `parity check`. The last is wider: where a rounding decides whether a ReLU opens, a deep
# network's float32 gradients are up to 1.5e-2 apart. TF32 has 10 bits of 23, bfloat16 7.
BOUNDS = {
    "float32": (1e-5, 1e-5, 1e-4, 5e-2),
    "tf32": (1e-2, 1e-2, 2e-2, 2e-1),
    "bfloat16": (1e-1, 5e-2, 1e-1, 5e-1),
}
# Rules that divide a gradient by its size: what is zero but for rounding is moved as far as all else (trap 28).
DIVIDING, DIVIDED = ("adam", "adamw", "rmsprop"), 5e-1


class First(NamedTuple):
    """What one side's first steps came to."""

    logits: np.ndarray  # (examples, classes), of the first weights
    loss: float  # of the first step
    norm: float  # of all its gradients together
    added: dict[str, np.ndarray]  # what a few steps have added to the parameters, by Flax's path


class Agreement(NamedTuple):
    """How far apart two sides' first steps are, relative to PyTorch's."""

    logits: float
    loss: float
    norm: float
    added: float  # all parameters together
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


def first_of(
    steps: Sequence[Mapping[str, float]],
    logits: Sequence[Any],
    before: Mapping[str, np.ndarray],
    after: Mapping[str, np.ndarray],
) -> First:
    """Return a worker's answers and weights as arrays; the weights may be named by either framework."""
    old, new = by_path(before), by_path(after)
    params = [path for path in old if path.startswith("params/")]
    added = {path: new[path].astype(np.float64) - old[path] for path in params}
    return First(np.array(logits), steps[0]["loss"], steps[0]["grad_norm"], added)


def by_path(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return stored weights by Flax's path, whichever framework wrote them."""
    return dict(weights) if is_flax(weights) else flatten(to_flax(weights))


def compare_first(theirs: First, ours: First, precision: str, optimizer: str) -> Agreement:
    """Compare PyTorch's first steps with Flax's; `precision` is a name in `BOUNDS`, `optimizer` one in `Config`."""
    *bounds, added = BOUNDS[precision]
    bounds.append(max(added, DIVIDED) if optimizer in DIVIDING else added)
    gaps = {path: ours.added[path] - theirs.added[path] for path in theirs.added}
    moved = total_norm(theirs.added)
    found = (
        relative_error(theirs.logits, ours.logits),
        relative_error(np.array(theirs.loss), np.array(ours.loss)),
        relative_error(np.array(theirs.norm), np.array(ours.norm)),
        float(total_norm(gaps)) / moved if moved > 0 else np.inf,  # steps that add nothing are no steps
    )
    # Written so that a number that is none does not pass.
    ok = all(error <= bound for error, bound in zip(found, bounds, strict=True))
    return Agreement(*found, ok=ok)


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
