"""An MLP trained by Adam with L2 in the loss and smoothed labels: the JAX side, written by hand."""

import jax
import jax.numpy as jnp

L2, RATE, B1, B2, EPS = 1e-2, 2e-3, 0.9, 0.999, 1e-5


def apply(params, x):
    x = jax.nn.gelu(x @ params["w0"] + params["b0"], approximate=False)
    mean = x.mean(-1, keepdims=True)
    var = x.var(-1, keepdims=True)
    x = (x - mean) / jnp.sqrt(var + 1e-5) * params["scale"] + params["shift"]
    x = jax.nn.silu(x @ params["w1"] + params["b1"])
    return x @ params["w2"] + params["b2"]


def cross_entropy(logits, labels):
    classes = logits.shape[-1]
    wanted = jax.nn.one_hot(labels, classes, dtype=logits.dtype)
    wanted = wanted * 0.9 + 0.1 / classes
    return -(wanted * jax.nn.log_softmax(logits)).sum(-1).mean()


def loss_fn(params, x, y):
    x = (x - 0.5) / 2.0
    loss = cross_entropy(apply(params, x), y)
    penalty = sum((p**2).sum() for p in params.values() if p.ndim > 1)
    return loss + 0.5 * L2 * penalty


def adam(params, state, grads):
    count = state["count"] + 1
    m = jax.tree.map(lambda m, g: B1 * m + (1 - B1) * g, state["m"], grads)
    v = jax.tree.map(lambda v, g: B2 * v + (1 - B2) * g**2, state["v"], grads)
    m_hat = jax.tree.map(lambda m: m / (1 - B1**count), m)
    v_hat = jax.tree.map(lambda v: v / (1 - B2**count), v)
    params = jax.tree.map(lambda p, m, v: p - RATE * m / (jnp.sqrt(v) + EPS), params, m_hat, v_hat)
    return params, {"m": m, "v": v, "count": count}


@jax.jit
def step(state, x, y):
    params, slots = state
    loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
    return adam(params, slots, grads), loss


def training():
    keys = jax.random.split(jax.random.key(0), 3)
    sizes = [(12, 10), (10, 10), (10, 5)]
    params = {f"w{i}": jax.random.normal(k, s) / 3 for i, (k, s) in enumerate(zip(keys, sizes, strict=True))}
    params |= {f"b{i}": jnp.zeros(s[1]) for i, s in enumerate(sizes)}
    params |= {"scale": jnp.ones(10), "shift": jnp.zeros(10)}
    zeros = jax.tree.map(jnp.zeros_like, params)
    return (params, {"m": zeros, "v": zeros, "count": jnp.zeros((), jnp.int32)}), step
