"""The lesson in Equinox: the same step as `jaxnets.step`; the module is the tree of its weights.

Run it as equinox.filter_jit(train_step), which compiles for what is not an array.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from data import Batch
from jaxnets.losses import Loss, count_correct, cross_entropy


def init_state(tx: optax.GradientTransformation, model: eqx.Module) -> optax.OptState:
    """Return the optimizer's state before the first step."""
    return tx.init(eqx.filter(model, eqx.is_inexact_array))


def train_step(
    model: Any,
    tx: optax.GradientTransformation,
    opt_state: optax.OptState,
    key: jax.Array,
    batch: Batch,
    loss: Loss = cross_entropy,
) -> tuple[Any, optax.OptState, dict[str, jax.Array]]:
    """Take one step; return the module, the state and the batch's mean `loss`, `correct` count and `grad_norm`."""
    images = jnp.moveaxis(batch.inputs, -1, 1)  # channels first, as in PyTorch
    keys = jax.random.split(key, len(images))  # for dropout, an example each

    def objective(model: Any) -> Any:
        logits = jax.vmap(lambda x, key: model(x, key=key))(images, keys)
        value = loss(logits, batch.labels)
        return value, {"loss": value, "correct": count_correct(logits, batch.labels)}

    grads, metrics = eqx.filter_grad(objective, has_aux=True)(model)
    updates, opt_state = tx.update(grads, opt_state, eqx.filter(model, eqx.is_inexact_array))
    metrics = {**metrics, "grad_norm": optax.tree.norm(grads)}
    return eqx.apply_updates(model, updates), opt_state, metrics
