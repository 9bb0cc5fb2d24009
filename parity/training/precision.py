"""Where each side computes and keeps less than float32: what mixed precision is, compared as what it says.

Rounding hides everything else, so the values of a training in mixed precision are compared in float64. Here both sides
run as their users run them, and the types of their products, of the loss, of parameters and of slots are compared.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch.utils._pytree import tree_leaves

from parity.sides.arrays import is_array, narrowed
from parity.trace.jax_eval import BODIES, line_of
from parity.trace.lines import Line, line_of_stack
from parity.training.backward import program_backward
from parity.training.jax_steps import JaxTraining, Program
from parity.training.outcome import TrainingFailure
from parity.training.roles import Roles
from parity.training.torch_steps import TorchTraining

PRODUCTS = ("addmm", "mm", "bmm", "baddbmm", "convolution", "dot_general", "conv_general_dilated")
LOSSES = ("_log_softmax", "exp", "log", "log1p", "logsumexp", "sigmoid", "log_sigmoid_forward", "mse_loss", "softplus")
LOSSES += ("binary_cross_entropy_with_logits", "nll_loss_forward", "logistic", "exp2")
HALF = ("bfloat16", "float16")


class Precision(NamedTuple):
    """What one side computes in which type."""

    products: list[tuple[str, Line | None]]  # of the operands, in order
    losses: list[tuple[str, Line | None]]
    params: dict[str, str]
    slots: dict[str, dict[str, str]]


def differences(
    torch_training: Callable[[], Any],
    jax_training: Callable[[], Any],
    batch: tuple[Sequence[Any], Sequence[Any]],
    roles: Roles,
    *,
    as_tensors: bool,
) -> list[TrainingFailure]:
    """Return where the types of both sides differ, if one is a type of 16 bits."""
    try:
        theirs, leaves = _of_jax(jax_training, batch[1])
        ours = _of_torch(torch_training, batch[0], as_tensors)
    except Exception:  # a training that runs in float64 alone has no mixed precision
        return []
    return [*_forward(ours, theirs), *_loss(ours, theirs), *_state(ours, leaves, roles)]


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
    return float(jnp.finfo(jnp.dtype(name)).eps)


def _of_jax(make: Callable[[], Any], batch: Sequence[Any]) -> tuple[Precision, dict[str, str]]:
    training = JaxTraining(make, wide=False)
    program = training.program(narrowed(tuple(batch)))
    products: list[tuple[str, Line | None]] = []
    losses: list[tuple[str, Line | None]] = []
    _walk(program, program.closed.jaxpr, products, losses)
    after = program.closed.jaxpr.outvars[: len(program.outputs)]
    leaves = {name: str(v.aval.dtype) for name, v in zip(program.outputs, after, strict=True)}
    return Precision(products, losses, {}, {}), leaves


def _walk(program: Program, jaxpr: Any, products: list[Any], losses: list[Any]) -> None:
    backward = program_backward(program)
    for equation in jaxpr.eqns:
        if id(equation) in backward:
            continue
        kinds = [str(v.aval.dtype) for v in equation.invars if jnp.issubdtype(v.aval.dtype, jnp.floating)]
        name = equation.primitive.name
        if name in PRODUCTS and kinds:
            products.append((min(kinds, key=lambda kind: -_eps(kind)), line_of(equation)))
            losses.clear()  # the loss is what follows the last product
        elif name in LOSSES and kinds:
            losses.append((min(kinds, key=lambda kind: -_eps(kind)), line_of(equation)))
        for key in BODIES:
            if key in equation.params:
                _walk(program, getattr(equation.params[key], "jaxpr", equation.params[key]), products, losses)


class _Types:
    """A recorder of the types of operations alone."""

    def __init__(self) -> None:
        self.products: list[tuple[str, Line | None]] = []
        self.losses: list[tuple[str, Line | None]] = []
        self.outputs: list[Any] = []
        self.roots: list[Any] = []

    def number(self, _tensor: torch.Tensor) -> int:
        return 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func).removeprefix("aten.").partition(".")[0]
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor) and t.is_floating_point()]
        kinds = [str(t.dtype).removeprefix("torch.") for t in tensors]
        into = self.products if name in PRODUCTS else self.losses if name in LOSSES else None
        if into is not None and kinds:
            into.append((min(kinds, key=lambda kind: -_eps(kind)), line_of_stack()))
            if into is self.products:
                self.losses.clear()
        return func(*args, **(kwargs or {}))


def _of_torch(make: Callable[[], Any], batch: Sequence[Any], as_tensors: bool) -> Precision:
    training, seen = TorchTraining(make, dtype=None), _Types()
    training.as_tensors = as_tensors
    training.run([_single(part) for part in batch], seen)
    names = {id(p): name for name, p in training.module.named_parameters()}
    slots: dict[str, dict[str, str]] = {}
    for optimizer in training.optimizers.values():
        for parameter, state in optimizer.state.items():
            for slot, value in state.items():
                if isinstance(value, torch.Tensor) and value.shape == parameter.shape and id(parameter) in names:
                    slots.setdefault(slot, {})[names[id(parameter)]] = str(value.dtype).removeprefix("torch.")
    params = {name: str(p.dtype).removeprefix("torch.") for name, p in training.module.named_parameters()}
    return Precision(seen.products, seen.losses, params, slots)


def _single(value: Any) -> Any:
    return jax.tree.map(lambda a: np.asarray(a, np.float32) if is_array(a) and a.dtype == np.float64 else a, value)
