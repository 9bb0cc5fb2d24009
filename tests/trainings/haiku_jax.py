"""A small CNN by Adam, cross-entropy written out, decay in the loss (dm-haiku's issue 120): Haiku and optax."""

from typing import Any, NamedTuple

import haiku as hk
import jax
import jax.numpy as jnp
import optax


class TrainingState(NamedTuple):
    params: Any
    opt_state: Any


def network(images):
    x = jax.nn.relu(hk.Conv2D(6, 3, padding="VALID", name="conv1")(images))
    x = jax.nn.relu(hk.Conv2D(8, 3, padding="VALID", name="conv2")(x))
    x = jnp.transpose(x, (0, 3, 1, 2)).reshape(x.shape[0], -1)
    x = jax.nn.relu(hk.Linear(16, name="fc1")(x))
    return hk.Linear(5, name="fc2")(x)


model = hk.without_apply_rng(hk.transform(network))
tx = optax.adam(1e-3)


def loss_fn(params, images, labels):
    logits = model.apply(params, images)
    wanted = jax.nn.one_hot(labels, 5)
    loss = -jnp.sum(wanted * jax.nn.log_softmax(logits)) / images.shape[0]
    return loss + 0.5 * 5e-4 * sum(jnp.sum(p**2) for p in jax.tree.leaves(params))


@jax.jit
def step(state, images, labels):
    loss, grads = jax.value_and_grad(loss_fn)(state.params, images, labels)
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    return TrainingState(optax.apply_updates(state.params, updates), opt_state), loss


def training():
    params = model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    return TrainingState(params, tx.init(params)), step
