"""What an update starts from, parameter by parameter, and what JAX's slots tell of its rule."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from parity.mapping.rule import Rule
from parity.training.roles import Roles
from parity.training.stages import Compared
from parity.training.steps import TorchStep
from parity.training.weights import carried

SAME = 1e-8
MOMENTS, SQUARES = ("momentum_buffer", "exp_avg"), ("exp_avg_sq", "square_avg")
OWN_SETTINGS = ("lr", "initial_lr", "weight_decay", "name")  # that groups of one optimizer may have for themselves
DECOUPLED = ("AdamW",)  # PyTorch's rules whose decay is no part of the gradient


class Shares(NamedTuple):
    """What a slot is made of."""

    old: float | None  # of what it was before; None where that is zero
    gradient: float  # or of its square
    weights: float  # decay that is part of the gradient of weights
    others: float  # of biases and scales


class Numbers(NamedTuple):
    """Everything that an update starts from."""

    kind: str  # "AdamW"
    leaves: list[str]
    before: list[np.ndarray]
    moved: list[np.ndarray]  # JAX's steps
    gradients: list[np.ndarray]
    raw: list[np.ndarray]
    slots: dict[str, list[np.ndarray]]
    settings: list[Mapping[str, Any]]
    update: int  # its number, from 1
    shares: dict[str, Shares]  # what JAX's slots are made of, of those that PyTorch has, too

    @property
    def decays(self) -> list[float]:
        """Return PyTorch's decay of each parameter."""
        return [float(s.get("weight_decay", 0) or 0) for s in self.settings]

    @property
    def decoupled(self) -> bool:
        """Whether PyTorch's decay is no part of the gradient."""
        return self.kind in DECOUPLED or bool(self.settings[0].get("decoupled_weight_decay"))

    @property
    def moment(self) -> Shares | None:
        """Return what JAX's first moment is made of, if it is known."""
        return next((self.shares[slot] for slot in (*MOMENTS, *SQUARES) if slot in self.shares), None)

    def largest(self, weights: bool) -> float:
        """Return PyTorch's decay of weights, or of biases and scales."""
        pairs = zip(self.before, self.decays, strict=True)
        return max((decay for array, decay in pairs if (array.ndim > 1) is weights), default=0.0)


def numbers(number: int, compared: list[Compared], steps: list[TorchStep], roles: Roles) -> Numbers | None:
    """Return what the update of one step starts from; of several rules, that of the first parameter that differs.

    None if PyTorch makes no update.
    """
    found = all_numbers(number, compared, steps, roles)
    for one in compared:
        bad = {row.tensor for row in one.found if row.stage == "update" and not row.ok}
        rules = [rule for leaf, (_, rule) in roles.slots.items() if leaf in bad]
        bad |= {leaf for leaf, rule in roles.params.items() if rule in rules}
        if (first := next((some for some in found if bad & set(some.leaves)), None)) is not None:
            return first
    return found[0] if found else None


def all_numbers(number: int, compared: list[Compared], steps: list[TorchStep], roles: Roles) -> list[Numbers]:
    """Return what the update of one step starts from, for each of PyTorch's rules."""
    step = steps[number]
    leaves = [leaf for leaf, rule in roles.params.items() if rule.sources[0] in step.groups]
    leaves = [leaf for leaf in leaves if carried(roles.params[leaf], step.gradients, constant=False) is not None]
    alike: dict[str, list[str]] = {}
    for leaf in leaves:
        group = step.groups[roles.params[leaf].sources[0]]
        same = {key: value for key, value in group.settings.items() if key not in OWN_SETTINGS}
        alike.setdefault(f"{group.number} {group.optimizer} {same}", []).append(leaf)
    return [_numbers(number, compared, steps, roles, some) for some in alike.values()]


def _numbers(
    number: int, compared: list[Compared], steps: list[TorchStep], roles: Roles, leaves: list[str]
) -> Numbers:
    step, one = steps[number], compared[number]
    groups = [step.groups[roles.params[leaf].sources[0]] for leaf in leaves]
    before = [np.asarray(one.before[leaf], np.float64) for leaf in leaves]
    after = [np.asarray(one.fed.outputs[leaf].array, np.float64) for leaf in leaves]
    slots = {slot: _of(leaves, roles.params, tensors) for slot, tensors in step.before.slots.items()}
    given = Numbers(
        groups[0].optimizer,
        leaves,
        before,
        [a - b for a, b in zip(after, before, strict=True)],
        _of(leaves, roles.params, step.gradients),
        _of(leaves, roles.params, {**step.gradients, **step.raw, **(step.held or {})}),
        slots,
        [group.settings for group in groups],
        sum(bool(s.groups) for s in steps[: number + 1]),
        {},
    )
    theirs = new_slots(one, roles, given.leaves)
    found = {slot: shares_of(given, slot, arrays) for slot, arrays in theirs.items()}
    return given._replace(shares={slot: shares for slot, shares in found.items() if shares is not None})


def _of(leaves: list[str], rules: Mapping[str, Rule], tensors: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    found = [(leaf, carried(rules[leaf], tensors, constant=False)) for leaf in leaves]
    return [np.zeros(()) if array is None else array for _, array in found]


def new_slots(one: Compared, roles: Roles, leaves: list[str]) -> dict[str, list[np.ndarray | None]]:
    """Return JAX's slots after a step, by PyTorch's name, for each parameter; None where it has none."""
    at = {roles.params[leaf]: i for i, leaf in enumerate(leaves)}
    found: dict[str, list[np.ndarray | None]] = {}
    for leaf, (slot, rule) in roles.slots.items():
        if rule in at:
            row = found.setdefault(slot, [None] * len(leaves))
            row[at[rule]] = np.asarray(one.fed.outputs[leaf].array, np.float64)
    return found


def shares_of(given: Numbers, slot: str, new: list[np.ndarray | None]) -> Shares | None:
    """Return what a new slot is made of, None if it is not made of the old one, gradient and decay."""
    for gradients in (given.gradients, given.raw):
        if (shares := _shares(given, slot, new, gradients)) is not None:
            return shares
    return None


def _shares(given: Numbers, slot: str, new: list[Any], gradients: list[np.ndarray]) -> Shares | None:
    squares, rows, targets = slot in SQUARES, [], []
    if slot not in (*MOMENTS, *SQUARES):
        return None
    old = given.slots.get(slot)
    for i, (p, g) in enumerate(zip(given.before, gradients, strict=True)):
        if new[i] is None or g.shape != p.shape:
            continue
        before = np.zeros(p.shape) if old is None or old[i].shape != p.shape else old[i]
        parts = [before, g**2, g * p, p**2] if squares else [before, g, p]
        matrix = p.ndim > 1
        own = [part if matrix else np.zeros(p.shape) for part in parts[2:]]
        own += [np.zeros(p.shape) if matrix else part for part in parts[2:]]
        rows.append(np.stack([np.ravel(part) for part in (*parts[:2], *own)]))
        targets.append(np.ravel(new[i]))
    if not rows:
        return None
    table, target = np.concatenate(rows, 1), np.concatenate(targets)
    found = solved(list(table), target)
    if found is None or not found[1]:
        return None
    remembered = found[0] if table[0].any() else None
    decays = [found[2] / 2, found[4] / 2] if squares else found[2:]
    weights, others = (snapped(d / found[1]) for d in decays)
    return Shares(remembered, found[1], weights, others)


def solved(basis: list[np.ndarray], target: np.ndarray) -> list[float] | None:
    """Return how much of each part an array is made of, None if it is not made of these."""
    sizes = np.array([np.linalg.norm(column) for column in basis])
    used, solution = sizes > 0, np.zeros(len(basis))
    if not used.any():
        return None
    scaled = np.stack([c / s for c, s in zip(basis, sizes, strict=True) if s > 0], 1)
    solution[used] = np.linalg.lstsq(scaled, target, rcond=None)[0] / sizes[used]
    left = np.linalg.norm(sum(x * c for x, c in zip(solution, basis, strict=True)) - target)
    return [x if abs(x) > 1e-9 else 0.0 for x in solution] if left <= SAME * np.linalg.norm(target) else None


def snapped(value: float) -> float:
    """Return the short decimal number that a fitted one is, if there is one so near."""
    if abs(value) < 1e-8:
        return 0.0
    near = float(f"{value:.5g}")
    return near if abs(near - value) <= 1e-6 * abs(value) else float(value)
