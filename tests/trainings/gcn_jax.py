"""A graph network trained on some nodes, decay on its first layer alone. optax.multi_transform, a mask."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn


class GraphConvolution(nn.Module):
    features: int

    @nn.compact
    def __call__(self, x, adj):
        w = self.param("weight", nn.initializers.normal(), (x.shape[-1], self.features))
        b = self.param("bias", nn.initializers.zeros, (self.features,))
        return adj @ (x @ w) + b


class GCN(nn.Module):
    @nn.compact
    def __call__(self, x, adj):
        x = nn.relu(GraphConvolution(8, name="gc1")(x, adj))
        x = nn.Dropout(0.5, deterministic=False)(x)
        return jax.nn.log_softmax(GraphConvolution(4, name="gc2")(x, adj))


model: Any = GCN()
tx = optax.multi_transform(
    {"decay": optax.chain(optax.add_decayed_weights(5e-4), optax.adam(0.01)), "plain": optax.adam(0.01)},
    {"gc1": "decay", "gc2": "plain"},
)


@jax.jit
def step(state, x, adj, y, mask):
    key = jax.random.fold_in(state["key"], state["step"])

    def loss_fn(params):
        logp = model.apply({"params": params}, x, adj, rngs={"dropout": key})
        nll = -jnp.take_along_axis(logp, y[:, None], axis=1)[:, 0]
        return jnp.sum(nll * mask) / jnp.sum(mask)

    loss, grads = jax.value_and_grad(loss_fn)(state["params"])
    updates, opt = tx.update(grads, state["opt"], state["params"])
    return {
        "params": optax.apply_updates(state["params"], updates),
        "opt": opt,
        "key": state["key"],
        "step": state["step"] + 1,
    }, loss


def training():
    params = model.init(
        {"params": jax.random.key(0), "dropout": jax.random.key(1)}, jnp.zeros((10, 6)), jnp.zeros((10, 10))
    )["params"]
    return {"params": params, "opt": tx.init(params), "key": jax.random.key(2), "step": 0}, step
