"""Words for a slot of the optimizer that is not PyTorch's, where the step itself is."""

import numpy as np

from parity.training.decay_words import which
from parity.training.roles import Roles
from parity.training.stages import Compared
from parity.training.steps import TorchStep
from parity.training.update_numbers import SQUARES, Shares, new_slots, numbers, shares_of
from parity.training.weights import carried


def slot_words(number: int, compared: list[Compared], steps: list[TorchStep], roles: Roles) -> str:
    """Say how much of the old slot, of the gradient and of the decay a slot has, "" if nothing reproduces it."""
    one, step = compared[number], steps[number]
    given = numbers(number, compared, steps, roles)
    bad = {row.tensor for row in one.found if row.stage == "update" and not row.ok}
    if given is None:
        return ""
    for slot in new_slots(one, roles, given.leaves):
        if not any(name == slot and leaf in bad for leaf, (name, _) in roles.slots.items()):
            continue
        tensors = step.after.slots.get(slot, {})
        new = [carried(roles.params[leaf], tensors, constant=False) for leaf in given.leaves]
        mine, theirs = shares_of(given, slot, new), given.shares.get(slot)
        if mine is not None and theirs is not None and (words := _words(slot, mine, theirs)):
            return words
    return ""


def initial_words(one: Compared, step: TorchStep, roles: Roles) -> str:
    """Say that a slot starts otherwise than PyTorch's, which is zero where there is none yet."""
    for leaf, (slot, rule) in roles.slots.items():
        theirs, ours = one.before[leaf], carried(rule, step.before.slots.get(slot, {}), constant=False)
        ours = np.zeros(theirs.shape) if ours is None else np.reshape(ours, theirs.shape)
        if not np.allclose(theirs, ours, rtol=1e-12, atol=0):
            what = f"at {theirs.flat[0]:g}" if np.ptp(theirs) == 0 else "otherwise"
            mine = f"at {ours.flat[0]:g}" if np.ptp(ours) == 0 else "otherwise"
            return f"{slot} starts {what} in JAX, {mine} in PyTorch"
    return ""


def _words(slot: str, mine: Shares, theirs: Shares) -> str:
    names = (f"the old {slot}", "the gradient's square" if slot in SQUARES else "the gradient")
    pairs = ((mine.old or 0.0, theirs.old or 0.0), (mine.gradient, theirs.gradient))
    for name, (a, b) in zip(names, pairs, strict=True):
        if abs(a - b) > 1e-6 * max(abs(a), abs(b)):
            digits = 6 if f"{a:.6g}" != f"{b:.6g}" else 12
            return f"{slot} has {b:.{digits}g} of {name} where PyTorch's has {a:.{digits}g}"
    ours, others = (mine.weights, mine.others), (theirs.weights, theirs.others)
    if any(ours) and not any(others):
        return f"the decay is decoupled: {slot} has none of it, where PyTorch's gradient has (trap 13)"
    return which(others, ours)
