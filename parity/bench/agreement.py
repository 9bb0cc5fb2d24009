"""Do both workers compute the same? Their first logits and steps, and what all steps have done to the weights.

`parity check` has shown, in float64, that both are the same network and the same training. What could still differ is
what the workers were given: weights, batches, options, precision. Then these figures are near 1.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from parity.copy import flatten, is_flax, to_flax
from parity.report.compare import relative_error, total_norm

# Of logits, first loss, norm of the first gradients, what the first step has added to the weights, and later losses.
# In float32 the first three are those of `parity check`. Then it is wider: where a rounding decides whether a ReLU
# opens, a deep network's float32 gradients are up to 1.5e-2 apart. TF32 has 10 bits of 23, bfloat16 7. Where they are
# further apart than that, `judge` asks PyTorch's float64 which of the two is off.
BOUNDS = {
    "float32": (1e-5, 1e-5, 1e-4, 5e-2, 1e-3),
    "tf32": (1e-2, 1e-2, 2e-2, 2e-1, 2e-2),
    "bfloat16": (1e-1, 5e-2, 1e-1, 5e-1, 1e-1),
}
# Rules that divide a gradient by its size: what is zero but for rounding is moved as far as all else (trap 28).
DIVIDING, DIVIDED = ("adam", "adamw", "rmsprop", "muon"), 5e-1


AS_NEAR = 3.0  # to PyTorch's float64 steps, in units of how near PyTorch's own are, as in `parity.checks.layers`
UNRELATED = 0.9  # what the steps of other weights, batches or options are at least apart


class First(NamedTuple):
    """What one side's first steps came to."""

    logits: np.ndarray  # (examples, classes), of the first weights
    loss: float  # of the first step
    norm: float  # of all its gradients together
    added: dict[str, np.ndarray]  # what it has added to the parameters, by Flax's path
    later: np.ndarray = np.zeros(0)  # the losses of the steps after it


class Agreement(NamedTuple):
    """How far apart two sides' first steps are, relative to PyTorch's."""

    logits: float
    loss: float
    norm: float
    added: float  # all parameters together
    later: float
    ok: bool
    from_exact: float | None = None  # how far Flax's `added` is from PyTorch's in float64, if that was asked
    own_from_exact: float | None = None  # and PyTorch's


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
    later = np.array([step["loss"] for step in steps[1:]])
    return First(np.array(logits), steps[0]["loss"], steps[0]["grad_norm"], added, later)


def by_path(weights: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return stored weights by Flax's path, whichever framework wrote them."""
    return dict(weights) if is_flax(weights) else flatten(to_flax(weights))


def compare_first(theirs: First, ours: First, precision: str, optimizer: str) -> Agreement:
    """Compare PyTorch's first steps with Flax's; `precision` is a name in `BOUNDS`, `optimizer` one in `Config`."""
    *bounds, added, later = BOUNDS[precision]
    bounds += [max(added, DIVIDED) if optimizer in DIVIDING else added, later]
    found = (
        relative_error(theirs.logits, ours.logits),
        relative_error(np.array(theirs.loss), np.array(ours.loss)),
        relative_error(np.array(theirs.norm), np.array(ours.norm)),
        _apart(theirs, ours),
        relative_error(theirs.later, ours.later),
    )
    # Written so that a number that is none does not pass.
    ok = all(error <= bound for error, bound in zip(found, bounds, strict=True))
    return Agreement(*found, ok=ok)


def judge(found: Agreement, theirs: First, ours: First, exact: First, precision: str) -> Agreement:
    """Return the verdict on first steps that are too far apart, given PyTorch's in float64.

    One rounding may decide whether a ReLU opens; then no two gradients of a deep network agree, nor PyTorch's with
    itself. Flax's steps must be as near to the exact ones as PyTorch's are, within a factor. The norm of the gradients
    cannot be further off than they are; logits and losses have their bounds as ever.
    """
    of_logits, of_loss, _, _, of_later = BOUNDS[precision]
    own, others = _apart(exact, theirs), _apart(exact, ours)
    allowed = min(AS_NEAR * own, UNRELATED)
    bounded = found.logits <= of_logits and found.loss <= of_loss and found.later <= of_later
    ok = bounded and found.norm <= allowed and others <= allowed
    return found._replace(ok=ok, from_exact=others, own_from_exact=own)


def _apart(reference: First, found: First) -> float:
    """Return how far apart what has been added is, all parameters together."""
    moved = total_norm(reference.added)
    gaps = {path: found.added[path] - reference.added[path] for path in reference.added}
    # Steps that add nothing are no steps.
    return float(total_norm(gaps) / moved) if moved > 0 else float("inf")


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
