"""Deliberate bugs in the training."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import torch

import jaxnets
import jaxnets.averaging
import jaxnets.compose
import jaxnets.gradient_transforms
import jaxnets.muon
import jaxnets.optimizers
import torchnets
from experiment.loop.schedules import factors
from jaxnets.muon import RMS, follow, orthogonal
from parity import suite
from parity.report import Failure
from parity.training.trajectory import check_trajectory
from tests.planted import Patch, Planted


def of_training(optimizer: str, plant: Callable[[Patch], None], patch: Patch) -> tuple[Failure, ...]:
    entry = torchnets.MODELS["ann"]
    torch.manual_seed(0)
    net, batches = entry.build(), suite.real_batches(entry.input_shape, 20, 0)
    plant(patch)
    zeros = frozenset({"params/fc1/bias", "params/fc2/bias"})
    failure = check_trajectory(net, jaxnets.MODELS["ann"].build(), batches, optimizer, zeros=zeros).failure
    return (failure,) if failure else ()


def rule(make: Callable[[Any, Any], optax.GradientTransformation]) -> Callable[[Patch], None]:
    """Put an update rule (config, rate) in the place of ours."""

    def make_optimizer(config, steps):
        table = factors(config.schedule, steps)
        return make(config, lambda count: config.lr * jnp.asarray(table)[count])

    return lambda patch: patch(jaxnets.compose, "make_optimizer", make_optimizer)


def decayed(config: Any, then: Any, mask: Any = None) -> optax.GradientTransformation:
    return optax.chain(optax.add_decayed_weights(config.weight_decay, mask), then)


def skipping_vectors(config: Any, rate: Any) -> optax.GradientTransformation:
    return decayed(config, optax.sgd(rate), lambda params: jax.tree.map(lambda p: p.ndim > 1, params))


def muon(make: Callable[[Any], optax.GradientTransformation]) -> Callable[[Patch], None]:
    """Put a rule for weights in the place of Muon's."""

    def make_rule(config, rate):
        labels = partial(jax.tree.map, lambda p: "muon" if p.ndim > 1 else "adam")
        rules = optax.partition({"muon": make(config), "adam": optax.scale_by_adam()}, labels)
        decay = optax.add_decayed_weights(config.weight_decay)
        return optax.chain(rules, decay, optax.scale_by_learning_rate(rate))

    return rule(make_rule)


def each(change: Callable[[Any], Any]) -> optax.GradientTransformation:
    return optax.stateless(lambda updates, _: jax.tree.map(change, updates))


def muon_of_optax(config: Any, **options: Any) -> optax.GradientTransformation:
    shape = partial(jax.tree.map, lambda _: optax.contrib.MuonDimensionNumbers())
    scale = optax.contrib.scale_by_muon(beta=config.momentum, eps=0.0, weight_dimension_numbers=shape, **options)
    return optax.chain(scale, each(lambda update: update * RMS * max(update.shape) ** 0.5))


def by_ratio(update: jax.Array) -> jax.Array:
    return orthogonal(update.T).T * max(1, update.shape[1] / update.shape[0]) ** 0.5


def losses(change: Callable[[Any], Any]) -> Callable[[Patch], None]:
    wrong = {name: change(loss) for name, loss in jaxnets.compose.LOSSES.items()}
    return lambda patch: patch(jaxnets.compose, "LOSSES", wrong)


def of_module(module: Any, name: str, wrong: Any) -> Callable[[Patch], None]:
    """Put a function in the place of one of a module's."""
    return lambda patch: patch(module, name, wrong)


def wrong_average(average: Any, variables: Any, averaged: Any, decay: float) -> Any:
    return UPDATE_AVERAGE(average, variables, averaged, 1 - decay)


def shifted_schedule(patch: Patch) -> None:
    patch(jaxnets.optimizers, "factors", lambda name, steps: np.roll(factors(name, steps), 1))


def smoothed(_: Any) -> Any:
    def loss(logits, labels, **_):
        targets = optax.smooth_labels(jax.nn.one_hot(labels, logits.shape[1], dtype=logits.dtype), 0.1)
        return optax.softmax_cross_entropy(logits, targets).mean()

    return loss


UPDATE_AVERAGE = jaxnets.averaging.update_average
TRAINING = [
    (
        "decay subtracted behind the rule",
        13,
        "sgd",
        rule(lambda c, r: optax.chain(optax.sgd(r), optax.add_decayed_weights(-c.lr * c.weight_decay))),
        "params/fc1/kernel",
        r"decoupled.*\(trap 13\)",
    ),
    (
        "rate inside the buffer",
        15,
        "momentum",
        rule(lambda c, r: decayed(c, optax.chain(optax.scale_by_schedule(r), optax.trace(0.9), optax.scale(-1)))),
        "momentum_buffer/params/fc1/kernel",
        r"enters the momentum buffer \(trap 15\)",
    ),
    (
        "plain momentum for Nesterov's",
        15,
        "nesterov",
        rule(lambda c, r: decayed(c, optax.sgd(r, 0.9))),
        "params/fc1/kernel",
        r"plain one \(trap 15\)",
    ),
    (
        "decoupled decay in Adam",
        13,
        "adam",
        rule(lambda c, r: optax.adamw(r, weight_decay=c.weight_decay)),
        "exp_avg/params/fc1/kernel",
        r"decoupled from the gradient \(trap 13\)",
    ),
    (
        "optax's default decay",
        13,
        "adamw",
        rule(lambda _, r: optax.adamw(r)),
        "params/fc1/kernel",
        r"decay is 0.0001 where PyTorch has 0.001 \(trap 13\)",
    ),
    (
        "coupled decay in AdamW",
        13,
        "adamw",
        rule(lambda c, r: decayed(c, optax.adam(r))),
        "exp_avg/params/fc1/kernel",
        r"added to the gradient \(trap 13\)",
    ),
    (
        "epsilon inside the square root",
        14,
        "rmsprop",
        rule(lambda c, r: decayed(c, optax.rmsprop(r, decay=0.99))),
        "params/fc1/kernel",
        r"inside the square root \(trap 14\)",
    ),
    (
        "optax's default RMSprop",
        29,
        "rmsprop",
        rule(lambda c, r: decayed(c, optax.rmsprop(r))),
        "square_avg/params/fc1/kernel",
        r"old square is 0.9 .*\(trap 14\)",
    ),
    (
        "Muon's momentum corrected, as optax has it",
        33,
        "muon",
        muon(muon_of_optax),
        "momentum_buffer/params/fc1/kernel",
        r"corrected for its start at zero \(trap 33\)",
    ),
    (
        "Muon's momentum plain",
        15,
        "muon",
        muon(lambda c: optax.chain(optax.trace(c.momentum), each(follow))),
        "params/fc1/kernel",
        r"momentum is the plain one, not Nesterov's \(trap 15\)",
    ),
    (
        "Muon's sizes by the shape's ratio",
        None,
        "muon",
        lambda patch: patch(jaxnets.muon, "follow", by_ratio),
        "params/fc1/kernel",
        r"as large as their shape's ratio",
    ),
    ("decay skips biases and norms", 13, "sgd", rule(skipping_vectors), "params/fc1/bias", r"skips biases and norms"),
    ("schedule behind by one", 16, "sgd", shifted_schedule, "params/fc1/kernel", r"behind by one step \(trap 16\)"),
    (
        "constant rate",
        16,
        "adam",
        lambda patch: patch(jaxnets.optimizers, "factors", lambda _, n: np.ones(n)),
        "params/fc1/kernel",
        r"rate is constant.*\(trap 16\)",
    ),
    (
        "summed loss",
        18,
        "sgd",
        losses(lambda loss: lambda x, y, **options: len(y) * loss(x, y, **options)),
        "loss",
        r"summed over the batch",
    ),
    ("label smoothing", 18, "sgd", losses(smoothed), "loss", r"label smoothing, 0.1 \(trap 18\)"),
    (
        "labels one off",
        26,
        "sgd",
        losses(lambda loss: lambda x, y, **options: loss(x, (y + 1) % 10, **options)),
        "loss",
        r"labels are one off",
    ),
    (
        "labels not smoothed",
        18,
        "adam",
        losses(lambda loss: lambda x, y, **_: loss(x, y)),
        "loss",
        r"labels are not smoothed \(trap 18\)",
    ),
    (
        "clipped by optax",
        30,
        "momentum",
        of_module(jaxnets.compose, "clip_by_norm", optax.clip_by_global_norm),
        "momentum_buffer/params/fc1/kernel",
        r"nothing is added to the norm",
    ),
    (
        "not clipped",
        None,
        "momentum",
        of_module(jaxnets.compose, "clip_by_norm", lambda _: optax.identity()),
        "momentum_buffer/params/fc1/kernel",
        r"gradients are not clipped",
    ),
    (
        "average of the new share",
        None,
        "momentum",
        of_module(jaxnets.averaging, "update_average", wrong_average),
        "average/params/fc1/kernel",
        "",
    ),
    (
        "gradient of L1 at zero",
        None,
        "sgd",
        lambda patch: patch(jaxnets.gradient_transforms, "absolute", jnp.abs),
        "params/bn1/bias",
        r"gradient of L1 at 0 is 1",
    ),
]


BUGS = [
    Planted(bug, trap, "ann", partial(of_training, optimizer, plant), f"trajectory {optimizer}", *rest)
    for bug, trap, optimizer, plant, *rest in TRAINING
]
