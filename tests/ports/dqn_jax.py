"""The playing network in Haiku's manner: `apply(params, rng, frames)`, names with slashes, NHWC."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

LAYOUT = "channels last"
SHAPES = {
    "dqn/~/conv_1": (5, 5, 4, 8),
    "dqn/~/conv_2": (3, 3, 8, 12),
    "dqn/~/torso": (48, 20),
    "dqn/~/value": (20, 1),
    "dqn/~/advantage": (20, 6),
}


def conv(p, x, stride, pad):
    y = lax.conv_general_dilated(
        x, p["w"], (stride, stride), [(pad, pad), (pad, pad)], dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return y + p["b"]


def linear(p, x):
    return x @ p["w"] + p["b"]


def avg_pool(x, size, stride, pad):
    padding = ((0, 0), (pad, pad), (pad, pad), (0, 0))
    total = lax.reduce_window(x, 0.0, lax.add, (1, size, size, 1), (1, stride, stride, 1), padding)
    return total / (size * size)


def max_pool(x, size):
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, size, size, 1), (1, size, size, 1), "VALID")


def dropout(rng, rate, x):
    keep = jax.random.bernoulli(rng, 1.0 - rate, x.shape)
    return jnp.where(keep, x / (1.0 - rate), 0.0)


def apply(params, rng, frames, is_training=False):
    x = conv(params["dqn/~/conv_1"], frames, stride=2, pad=2)
    x = jax.nn.leaky_relu(x)
    x = avg_pool(x, 3, 2, 1)
    x = conv(params["dqn/~/conv_2"], x, stride=1, pad=1)
    x = jax.nn.leaky_relu(x)
    x = max_pool(x, 2)
    x = x.reshape(x.shape[0], -1)
    x = jax.nn.softplus(linear(params["dqn/~/torso"], x))
    if is_training:
        x = dropout(rng, 0.2, x)
    advantage = linear(params["dqn/~/advantage"], x)
    value = linear(params["dqn/~/value"], x)
    q = value + advantage - jnp.mean(advantage, axis=-1, keepdims=True)
    return {"policy": jax.nn.log_softmax(advantage), "q": q}


def init(seed):
    rng = np.random.default_rng(seed)
    params = {}
    for name, shape in SHAPES.items():
        w = 0.1 * rng.standard_normal(shape, np.float32)
        params[name] = {"w": jnp.asarray(w), "b": jnp.zeros(shape[-1])}
    return params


def make():
    return apply, init(0)


def weights(state):
    leaves = {}
    for ours, theirs in (("conv_1", "conv1"), ("conv_2", "conv2")):
        leaves[f"dqn/~/{ours}/w"] = state[f"{theirs}.weight"].transpose(2, 3, 1, 0)
        leaves[f"dqn/~/{ours}/b"] = state[f"{theirs}.bias"]
    torso = state["body.weight"].reshape(20, 12, 2, 2).transpose(2, 3, 1, 0)
    leaves["dqn/~/torso/w"] = torso.reshape(48, 20)
    leaves["dqn/~/torso/b"] = state["body.bias"]
    for name in ("value", "advantage"):
        leaves[f"dqn/~/{name}/w"] = state[f"{name}.weight"].T
        leaves[f"dqn/~/{name}/b"] = state[f"{name}.bias"]
    return leaves
