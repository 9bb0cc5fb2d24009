"""PyTorch's optimizers, built from optax's parts."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from experiment.config import Config
from experiment.loop.schedules import factors
from jaxnets.muon import scale_by_muon


def make_optimizer(config: Config, steps: int) -> optax.GradientTransformation:
    """Return the update rule for a training of `steps` steps, with its schedule."""
    table = factors(config.schedule, steps)

    def lr(count: ArrayLike) -> jax.Array:
        return config.lr * jnp.asarray(table)[jnp.asarray(count)]

    mask = decayed if config.decay_weights_only else None
    # AdamW's decay is decoupled. Its default differs from PyTorch's, so it is always passed (trap 13).
    if config.optimizer == "adamw":
        return optax.adamw(lr, weight_decay=config.weight_decay, mask=mask)
    if config.optimizer == "muon":  # decoupled as well
        decay = optax.add_decayed_weights(config.weight_decay, mask)
        return optax.chain(scale_by_muon(config.momentum), decay, optax.scale_by_learning_rate(lr))
    rules = {
        "sgd": lambda: optax.sgd(lr),
        # The rate multiplies what leaves the buffer, not what enters it (trap 15).
        "momentum": lambda: optax.sgd(lr, momentum=config.momentum),
        "nesterov": lambda: optax.sgd(lr, momentum=config.momentum, nesterov=True),
        "adam": lambda: optax.adam(lr),
        # optax's defaults are decay 0.9, and epsilon inside the square root (trap 14).
        "rmsprop": lambda: optax.rmsprop(lr, decay=0.99, eps=1e-8, eps_in_sqrt=False),
    }
    # PyTorch adds the decay to the gradient, of biases and norms too (trap 13).
    return optax.chain(optax.add_decayed_weights(config.weight_decay, mask), rules[config.optimizer]())


def decayed(params: Any) -> Any:
    """Return the mask of the parameters that decay: weights. Biases and norms have one axis."""
    return jax.tree.map(lambda p: p.ndim > 1, params)
