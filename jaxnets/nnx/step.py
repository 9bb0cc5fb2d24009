"""The lesson in NNX, twice: with state in the module, as in `torchnets.step`, and as a pure function, as in Linen.

Run them as nnx.jit(train_step) and jax.jit(partial(split_step, graph, tx)); docs/nnx.md has the times.
"""

from typing import Any, NamedTuple

import jax
import optax
from flax import nnx

from data import Batch
from jaxnets.losses import Array, Loss, count_correct, cross_entropy


class TrainState(NamedTuple):
    """The complete training state of `split_step`."""

    params: Any  # an nnx.State
    rest: Any  # another: BatchNorm's statistics, and the keys and counts of dropout's generators
    opt_state: optax.OptState


def train_step(
    model: nnx.Module, optimizer: nnx.Optimizer, batch: Batch, loss: Loss = cross_entropy
) -> dict[str, jax.Array]:
    """Take one step in place; return the batch's mean `loss`, `correct` count and `grad_norm`."""
    model.train()  # dropout counts its draws, and the count is part of the training's state (trap 31)

    def objective(model: Any) -> Any:
        logits = model(batch.inputs)
        value = loss(logits, batch.labels)
        return value, {"loss": value, "correct": count_correct(logits, batch.labels)}

    grads, metrics = nnx.grad(objective, has_aux=True)(model)  # by nnx.Param alone
    optimizer.update(model, grads)
    return {**metrics, "grad_norm": optax.tree.norm(grads)}


def init_state(tx: optax.GradientTransformation, model: nnx.Module) -> tuple[nnx.GraphDef, TrainState]:
    """Return what `split_step` does not change of a module, and the state before the first step."""
    model.train()
    graph, params, rest = nnx.split(model, nnx.Param, ...)
    return graph, TrainState(params, rest, tx.init(params))


def split_step(
    graph: nnx.GraphDef,
    tx: optax.GradientTransformation,
    state: TrainState,
    batch: Batch,
    loss: Loss = cross_entropy,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """Take one step; return the new state and the batch's mean `loss`, `correct` count and `grad_norm`."""

    def objective(params: Any, rest: Any) -> Any:
        model: Any = nnx.merge(graph, params, rest, copy=True)  # so that it is changed here, not where it came from
        logits = model(batch.inputs)
        value = loss(logits, batch.labels)
        rest = nnx.split(model, nnx.Param, ...)[2]  # as the pass has left it
        return value, (rest, {"loss": value, "correct": count_correct(logits, batch.labels)})

    grads, (rest, metrics) = jax.grad(objective, has_aux=True)(state.params, state.rest)
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    metrics = {**metrics, "grad_norm": optax.tree.norm(grads)}
    return TrainState(params, rest, opt_state), metrics


def eval_step(model: Any, inputs: Array) -> jax.Array:
    """Return logits (N, classes) of inputs (N, ..., C): no dropout, BatchNorm uses its running statistics."""
    # The mode is part of what nnx.jit compiles for: after this, `train_step` is compiled once more.
    model.eval()
    return model(inputs)
