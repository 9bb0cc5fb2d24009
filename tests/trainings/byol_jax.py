"""BYOL: an online network with a predictor, a target network that follows it. Linen, dicts of parameters."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn


class Mlp(nn.Module):
    hidden: int
    out: int

    @nn.compact
    def __call__(self, x):
        x = nn.Dense(self.hidden)(x)
        x = nn.BatchNorm(use_running_average=False, momentum=0.9, epsilon=1e-5)(x)
        return nn.Dense(self.out)(nn.relu(x))


class Encoder(nn.Module):
    @nn.compact
    def __call__(self, x):
        return Mlp(12, 8)(nn.relu(nn.Dense(16)(x)))


encoder, predictor = Encoder(), Mlp(12, 8)
tx = optax.chain(optax.add_decayed_weights(1e-3), optax.sgd(0.05, momentum=0.9))


def unbiased(old, new, n):
    """Flax keeps the biased variance: scale the batch's share."""

    def one(path, o, w):
        return (w - 0.9 * o) * n / (n - 1) + 0.9 * o if path[-1].key == "var" else w

    return jax.tree_util.tree_map_with_path(one, old, new)


def run(module, params, stats, x):
    out, new = module.apply({"params": params, "batch_stats": stats}, x, mutable=["batch_stats"])
    return out, unbiased(stats, new["batch_stats"], x.shape[0])


def normalize(x):
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def regression(x, y):
    return 2 - 2 * jnp.sum(normalize(x) * normalize(y), axis=-1)


@jax.jit
def step(state, a, b):
    def loss_fn(params):
        stats = state["stats"]
        z1, enc = run(encoder, params["online"], stats["online"], a)
        p1, pre = run(predictor, params["predictor"], stats["predictor"], z1)
        z2, enc = run(encoder, params["online"], enc, b)
        p2, pre = run(predictor, params["predictor"], pre, z2)
        t1, tar = run(encoder, state["target"], stats["target"], a)
        t2, tar = run(encoder, state["target"], tar, b)
        t1, t2 = jax.lax.stop_gradient((t1, t2))
        loss = jnp.mean(regression(p1, t2) + regression(p2, t1))
        return loss, {"online": enc, "predictor": pre, "target": tar}

    (loss, stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(state["params"])
    updates, opt_state = tx.update(grads, state["opt_state"], state["params"])
    params: Any = optax.apply_updates(state["params"], updates)
    tau = 1 - (1 - 0.9) * (jnp.cos(jnp.pi * state["it"] / 20) + 1) / 2
    target = jax.tree.map(lambda t, o: t * tau + o * (1 - tau), state["target"], params["online"])
    return {"params": params, "target": target, "stats": stats, "opt_state": opt_state, "it": state["it"] + 1}, loss


def training():
    e = encoder.init(jax.random.key(0), jnp.zeros((2, 12)))
    p = predictor.init(jax.random.key(1), jnp.zeros((2, 8)))
    params = {"online": e["params"], "predictor": p["params"]}
    stats = {"online": e["batch_stats"], "predictor": p["batch_stats"], "target": e["batch_stats"]}
    return {
        "params": params,
        "target": e["params"],
        "stats": stats,
        "opt_state": tx.init(params),
        "it": jnp.zeros((), jnp.int32),
    }, step
