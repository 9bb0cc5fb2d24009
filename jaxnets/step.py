"""The lesson: a training step is a pure function of explicit state. Options are composed around it in `compose`."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from data import Batch
from jaxnets.losses import Array, Loss, count_correct, cross_entropy

Model = Any  # a Flax module, or a wrapper with its `apply`
Variables = dict[str, Any]  # what `model.apply` takes: "params" and, with BatchNorm, "batch_stats"


class TrainState(NamedTuple):
    """The complete training state."""

    step: jax.Array  # () int32
    variables: Variables
    opt_state: optax.OptState
    key: jax.Array  # for dropout


def init_state(tx: optax.GradientTransformation, variables: Variables, seed: int) -> TrainState:
    """Return the state before the first step; dropout depends on `seed`."""
    key = jax.random.fold_in(jax.random.key(seed), 1)  # 0 is for the initial weights
    return TrainState(jnp.zeros((), jnp.int32), variables, tx.init(variables["params"]), key)


def train_step(
    model: Model,
    tx: optax.GradientTransformation,
    state: TrainState,
    batch: Batch,
    loss: Loss = cross_entropy,
    grad: Any = jax.grad,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Take one step; return the new state and the batch's mean `loss`, `correct` count and `grad_norm`."""
    params = state.variables["params"]
    statistics = {name: value for name, value in state.variables.items() if name != "params"}
    key = jax.random.fold_in(state.key, state.step)  # a step's dropout depends on its number alone

    def objective(params: Any, statistics: Any, batch: Batch, key: jax.Array, at: int = 0) -> Any:
        options = {"mutable": ["batch_stats"], "rngs": {"dropout": jax.random.fold_in(key, at)}}
        logits, statistics = model.apply({**statistics, "params": params}, batch.inputs, train=True, **options)
        value = loss(logits, batch.labels)
        return value, (statistics, {"loss": value, "correct": count_correct(logits, batch.labels)})

    grads, (statistics, metrics) = grad(objective, has_aux=True)(params, statistics, batch, key)
    updates, opt_state = tx.update(grads, state.opt_state, params)
    variables = {**statistics, "params": optax.apply_updates(params, updates)}
    metrics = {**metrics, "grad_norm": optax.tree.norm(grads)}
    return TrainState(state.step + 1, variables, opt_state, state.key), metrics


def eval_step(model: Model, variables: Variables, inputs: Array) -> jax.Array:
    """Return logits (N, classes) of inputs (N, ..., C): no dropout, BatchNorm uses its running statistics."""
    return model.apply(variables, inputs, train=False)
