"""Where each side computes and keeps less than float32: what mixed precision is, compared as what it says.

Rounding hides everything else, so the values of a training in mixed precision are compared in float64. Here both sides
run as their users run them, and the types of their products, of the loss, of parameters and of slots are compared.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from data.errors import UserError
from parity.sides.crashes import crash_of
from parity.trace.lines import Line
from parity.training.outcome import TrainingFailure
from parity.training.roles import Roles

PRODUCTS = ("addmm", "mm", "bmm", "baddbmm", "convolution", "dot_general", "conv_general_dilated")
LOSSES = ("_log_softmax", "exp", "log", "log1p", "logsumexp", "sigmoid", "log_sigmoid_forward", "mse_loss", "softplus")
LOSSES += ("binary_cross_entropy_with_logits", "nll_loss_forward", "logistic", "exp2")
HALF = ("bfloat16", "float16")
EPS = {"float64": 2.0**-52, "float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}


class Precision(NamedTuple):
    """What one side computes in which type."""

    products: list[tuple[str, Line | None]]  # of the operands, in order
    losses: list[tuple[str, Line | None]]
    params: dict[str, str]
    slots: dict[str, dict[str, str]]
    raised: str = ""  # what it raises if it is run so: nothing is known of its types then


def unknown(error: Exception) -> Precision:
    """Return that a training raises as its user runs it, and where."""
    crash = crash_of(error)
    crash = crash._replace(words=str(error)) if isinstance(error, UserError) else crash
    return Precision([], [], {}, {}, crash.short)


def narrowest(kinds: Sequence[str]) -> str:
    """Return the type with the fewest digits."""
    return min(kinds, key=lambda kind: -_eps(kind))


def differences(ours: Precision | None, theirs: Precision | None, roles: Roles) -> list[TrainingFailure]:
    """Return where the types of both sides differ, if one is a type of 16 bits; those of JAX's leaves are `params`."""
    if ours is None or theirs is None or ours.raised or theirs.raised:
        return []
    return [*_forward(ours, theirs), *_loss(ours, theirs), *_state(ours, theirs.params, roles)]


def not_compared(ours: Precision | None, theirs: Precision | None) -> list[str]:
    """Return what is said of a side whose types are not known, as it raises in its own precision."""
    sides = (("PyTorch", ours), ("JAX", theirs))
    words = "the types of mixed precision are not compared: the {} training as it is, on batches of float32, fails: {}"
    return [words.format(name, side.raised) for name, side in sides if side is not None and side.raised]


def _forward(ours: Precision, theirs: Precision) -> list[TrainingFailure]:
    mine, other = ours.products, theirs.products
    if len(mine) != len(other):
        names = [{name for name, _ in side if name in HALF} for side in (mine, other)]
        if names[0] == names[1] or not (mine and other):
            return []
        return [_failure("forward", "products", mine[0], other[0], "the products")]
    for number, (a, b) in enumerate(zip(mine, other, strict=True), 1):
        if a[0] != b[0] and (a[0] in HALF or b[0] in HALF):
            return [_failure("forward", f"product {number}", a, b, f"product {number} of {len(mine)}")]
    return []


def _loss(ours: Precision, theirs: Precision) -> list[TrainingFailure]:
    if not ours.losses or not theirs.losses:
        return []
    a, b = (min(side.losses, key=lambda pair: _eps(pair[0]) * -1) for side in (ours, theirs))
    if a[0] != b[0] and (a[0] in HALF or b[0] in HALF):
        return [_failure("loss", "loss", a, b, "the loss")]
    return []


def _state(ours: Precision, leaves: Mapping[str, str], roles: Roles) -> list[TrainingFailure]:
    for leaf, rule in roles.params.items():
        a, b = ours.params.get(rule.sources[0], ""), leaves[leaf]
        if a and a != b and (a in HALF or b in HALF):
            return [_failure("update", leaf, (a, None), (b, None), f"the parameter {rule.sources[0]}")]
    for leaf, (slot, rule) in roles.slots.items():
        a, b = ours.slots.get(slot, {}).get(rule.sources[0], ""), leaves[leaf]
        if a and a != b and (a in HALF or b in HALF):
            return [_failure("update", leaf, (a, None), (b, None), f"{slot} of {rule.sources[0]}")]
    return []


def _failure(stage: str, tensor: str, ours: Any, theirs: Any, what: str) -> TrainingFailure:
    words = f"mixed precision: {what} in {ours[0]} in PyTorch, in {theirs[0]} in JAX"
    pair = (_eps(ours[0]), _eps(theirs[0]))
    return TrainingFailure(stage, 1, tensor, np.inf, 0.0, *pair, "", words, ours[1], theirs[1])


def _eps(name: str) -> float:
    return EPS[name] if name in EPS else 2.0**-3
