"""The one place where the options of a configuration are composed around the training step."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from data import Batch
from experiment.config import Config
from jaxnets.accumulation import in_pieces
from jaxnets.averaging import Metrics, State, init_average, with_average
from jaxnets.gradient_transforms import clip_by_norm, freeze, has_frozen, with_l1, without_frozen
from jaxnets.losses import LOSSES, Loss, measure
from jaxnets.optimizers import make_optimizer
from jaxnets.precision import InPrecision
from jaxnets.skipping import skip_not_finite
from jaxnets.step import Model, Variables, eval_step, init_state, train_step
from jaxnets.test_time_augmentation import EvalStep, with_views


class Training(NamedTuple):
    """What `jax.jit` is given: pure functions."""

    init: Callable[[Variables, int], State]  # of the initial variables and the seed of dropout
    step: Callable[[Any, Batch], tuple[Any, Metrics]]


def training(model: Model, config: Config, steps: int, weights: np.ndarray | None = None) -> Training:
    """Return a training of `steps` steps; with every option off, its step is `train_step` with these arguments.

    `weights` are those of the classes in the loss.
    """
    tx, own = update_rule(model, config, steps), {"loss": loss_of(config, weights)}
    grad = gradient(model, config, weights)
    if grad is not jax.grad:
        own["grad"] = grad
    step: Any = partial(train_step, in_precision(model, config), tx, **own)
    if config.ema:
        step = with_average(step, config.ema)
    if config.on_nan == "skip":
        step = skip_not_finite(step)

    def init(variables: Variables, seed: int) -> State:
        state = init_state(tx, variables, seed)
        return init_average(state) if config.ema else state

    return Training(init, step)


def update_rule(model: Model, config: Config, steps: int, *, clipped: bool = False) -> optax.GradientTransformation:
    """Return the optimizer, for the trained parameters, behind clipping unless gradients are `clipped`."""
    tx = make_optimizer(config, steps)
    if config.clip_norm:
        tx = optax.named_chain(("clip", optax.identity() if clipped else clip_by_norm(config.clip_norm)), ("rule", tx))
    return freeze(tx, model) if has_frozen(model) else tx


def gradient(model: Model, config: Config, weights: np.ndarray | None = None) -> Callable[..., Any]:
    """Return `jax.grad`, or what computes the gradient in its place."""
    grad: Callable[..., Any] = jax.grad
    if config.accumulate > 1:
        grad = in_pieces(grad, config.accumulate, partial(measure, weights=weights))
    if config.l1:
        grad = with_l1(grad, config.l1)
    return without_frozen(grad, model) if has_frozen(model) else grad


def loss_of(config: Config, weights: np.ndarray | None = None) -> Loss:
    """Return the loss, with label smoothing and the weights of the classes if there are any."""
    loss = LOSSES[config.loss]
    if weights is not None:
        loss = partial(loss, weights=weights)
    return partial(loss, smoothing=config.label_smoothing) if config.label_smoothing else loss


def compute_dtype(config: Config) -> Any:
    """Return the dtype to compute in, or None for that of the weights."""
    return jnp.bfloat16 if config.precision == "bfloat16" else None


def in_precision(model: Model, config: Config) -> Model:
    """Return the network that computes in the precision of `config`."""
    dtype = compute_dtype(config)
    return InPrecision(model, dtype) if dtype else model


def evaluation(config: Config) -> EvalStep:
    """Return the step (model, variables, inputs) that evaluates; with every option off, it is `eval_step`."""
    return with_views(eval_step, config.tta) if config.tta != "none" else eval_step


@cache
def _compiled(tta: Any) -> EvalStep:
    return jax.jit(evaluation(Config(tta=tta)), static_argnums=0)


def logits_of(model: Model, variables: Variables, inputs: Any, config: Config) -> jax.Array:
    """Return logits (N, classes) by the compiled evaluation step; each network and option is compiled once."""
    return _compiled(config.tta)(in_precision(model, config), variables, inputs)
