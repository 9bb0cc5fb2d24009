"""Words for a slot of the optimizer that is not PyTorch's, where the step itself is."""

import numpy as np

from parity.training.roles import Roles
from parity.training.stages import Compared
from parity.training.steps import TorchStep
from parity.training.update_rules import decay, is_coupled, numbers

SAME = 1e-8
SQUARES = ("exp_avg_sq", "square_avg")


def slot_words(number: int, compared: list[Compared], steps: list[TorchStep], roles: Roles) -> str:
    """Say how much of the old slot, of the gradient and of the decay a slot has, "" if nothing reproduces it."""
    given = numbers(number, compared, steps, roles)
    bad = {row.tensor: row for row in compared[number].found if row.stage == "update" and not row.ok}
    if given is None:
        return ""
    parts: dict[str, list[list[np.ndarray]]] = {}
    at = {leaf: i for i, leaf in enumerate(given.leaves)}
    for leaf, (slot, rule) in roles.slots.items():
        parameter = next((p for p, r in roles.params.items() if r == rule and p in at), None)
        if leaf not in bad or parameter is None:
            continue
        i = at[parameter]
        old, row, p = given.slots.get(slot), bad[leaf], given.before[i]
        columns = [np.zeros(p.shape) if old is None or not old[i].shape else old[i], given.gradients[i]]
        if slot in SQUARES:
            columns[1] = columns[1] ** 2
        columns += [p if p.ndim > 1 else np.zeros(p.shape), p if p.ndim <= 1 else np.zeros(p.shape)]
        columns += [np.asarray(row.torch, np.float64), np.asarray(row.jax, np.float64)]
        parts.setdefault(slot, []).append([np.ravel(c) for c in columns])
    for slot, rows in parts.items():
        if words := _words(slot, [np.concatenate(column) for column in zip(*rows, strict=True)], given):
            return words
    return ""


def _words(slot: str, columns: list[np.ndarray], given: object) -> str:
    *basis, ours, theirs = columns
    mine, other = (_solved(basis[:2] if slot in SQUARES else basis, target) for target in (ours, theirs))
    if other is None:
        return ""
    if mine is None:
        return ""
    names = (f"the old {slot}", "the gradient's square" if slot in SQUARES else "the gradient")
    for name, a, b in zip(names, mine, other, strict=False):
        if abs(a - b) > 1e-6 * max(abs(a), abs(b)):
            return f"{slot} has {b:.6g} of {name} where PyTorch's has {a:.6g}"
    if slot not in SQUARES and decay(given) and is_coupled(given.kind):  # type: ignore[arg-type]
        if not any(other[2:]) and any(mine[2:]):
            return f"the decay is decoupled: {slot} has none of it, where PyTorch's gradient has (trap 13)"
        if bool(other[3]) != bool(mine[3]):
            return (
                "weights only decay, in PyTorch all parameters"
                if mine[3]
                else "all parameters decay, in PyTorch weights only"
            )
    return ""


def _solved(basis: list[np.ndarray], target: np.ndarray) -> list[float] | None:
    """Return how much of each a slot is made of, None if it is not made of these."""
    sizes = np.array([np.linalg.norm(column) for column in basis])
    used, solution = sizes > 0, np.zeros(len(basis))
    if not used.any():
        return None
    scaled = np.stack([c / s for c, s in zip(basis, sizes, strict=True) if s > 0], 1)
    solution[used] = np.linalg.lstsq(scaled, target, rcond=None)[0] / sizes[used]
    left = np.linalg.norm(sum(x * c for x, c in zip(solution, basis, strict=True)) - target)
    return [x if abs(x) > 1e-9 else 0.0 for x in solution] if left <= SAME * np.linalg.norm(target) else None
