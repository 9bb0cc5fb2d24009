"""The lesson: training as pure functions of explicit state. Nothing here is jitted; the call site does that."""

from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from data import Batch

Variables = dict[str, Any]  # what `model.apply` takes: "params" and, with BatchNorm, "batch_stats"
Array = jax.Array | np.ndarray
Loss = Callable[[Array, Array], jax.Array]


class TrainState(NamedTuple):
    """All that changes in training."""

    step: jax.Array  # () int32
    variables: Variables
    opt_state: optax.OptState
    key: jax.Array  # of dropout; folded with the step, so that a step's mask depends on nothing else


def cross_entropy(logits: Array, labels: Array) -> jax.Array:
    """Return the mean over the batch of softmax cross-entropy; logits (N, classes), labels (N,)."""
    chex.assert_shape(labels, logits.shape[:1])  # (N, 1) labels would broadcast, silently
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def binary_cross_entropy(logits: Array, labels: Array) -> jax.Array:
    """Return the mean over batch and classes (trap 18) of each class against the rest."""
    targets = jax.nn.one_hot(labels, logits.shape[1], dtype=logits.dtype)
    return optax.sigmoid_binary_cross_entropy(logits, targets).mean()


def absolute(x: jax.Array) -> jax.Array:
    """Return |x| with gradient 0 at 0, as in PyTorch; that of jnp.abs is 1 there, where a BatchNorm's bias starts."""
    return x * jax.lax.stop_gradient(jnp.sign(x))


LOSSES: dict[str, Loss] = {"cross-entropy": cross_entropy, "bce": binary_cross_entropy}


def split_params(model: nn.Module, params: Any) -> tuple[Any, Any]:
    """Return the parameters that are trained, and the frozen ones, for which no gradient and no state is ever made."""
    is_trained = getattr(model, "is_trained", None)
    trained = {name: layer for name, layer in params.items() if is_trained is None or is_trained(name)}
    return trained, {name: layer for name, layer in params.items() if name not in trained}


def init_state(model: nn.Module, tx: optax.GradientTransformation, variables: Variables, seed: int) -> TrainState:
    """Return the state before the first step; `seed` is dropout's."""
    key = jax.random.fold_in(jax.random.key(seed), 1)  # 0 is the initial weights'
    trained, _ = split_params(model, variables["params"])
    return TrainState(jnp.zeros((), jnp.int32), variables, tx.init(trained), key)


def train_step(
    model: nn.Module,
    tx: optax.GradientTransformation,
    state: TrainState,
    batch: Batch,
    *,
    loss: Loss = cross_entropy,
    l1: float = 0.0,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Take one step; return the new state, and the batch's mean `loss` (without L1) and `correct` count."""
    inputs, labels = batch
    params, frozen = split_params(model, state.variables["params"])
    dropout_key = jax.random.fold_in(state.key, state.step)

    def objective(params: Any) -> tuple[jax.Array, Any]:
        logits, updated = model.apply(
            {**state.variables, "params": {**frozen, **params}},
            inputs,
            train=True,
            mutable=["batch_stats"],
            rngs={"dropout": dropout_key},
        )
        value = loss(logits, labels)
        penalty = l1 * sum(absolute(p).sum() for p in jax.tree.leaves(params)) if l1 else 0.0
        return value + penalty, (value, logits, updated)

    grads, (value, logits, updated) = jax.grad(objective, has_aux=True)(params)
    updates, opt_state = tx.update(grads, state.opt_state, params)
    params: Any = optax.apply_updates(params, updates)
    metrics = {"loss": value, "correct": (logits.argmax(axis=1) == labels).sum()}
    variables: Variables = {**updated, "params": {**frozen, **params}}
    return TrainState(state.step + 1, variables, opt_state, state.key), metrics


def eval_step(model: nn.Module, variables: Variables, inputs: Array) -> Any:
    """Return logits (N, classes) of inputs (N, ..., C), dropout off and BatchNorm by its kept statistics."""
    return model.apply(variables, inputs, train=False)
