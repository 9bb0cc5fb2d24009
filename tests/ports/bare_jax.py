"""The decoder as a bare function of a tree of parameters."""

import jax
import jax.numpy as jnp
import numpy as np

HEADS, WINDOW, THETA = 3, 4, 100.0


def layer_norm(scale, x, eps=1e-5):
    mean = x.mean(-1, keepdims=True)
    variance = x.var(-1, keepdims=True)
    return (x - mean) / jnp.sqrt(variance + eps) * scale


def linear(p, x):
    y = x @ p["w"]
    return y + p["b"] if "b" in p else y


def rotary(x):
    length, dim = x.shape[1], x.shape[-1]
    frequencies = THETA ** (-jnp.arange(0, dim, 2) / dim)
    angles = jnp.einsum("t,f->tf", jnp.arange(length), frequencies)[:, None]
    even, odd = x[..., ::2], x[..., 1::2]
    turned = jnp.stack(
        [
            even * jnp.cos(angles) - odd * jnp.sin(angles),
            even * jnp.sin(angles) + odd * jnp.cos(angles),
        ],
        axis=-1,
    )
    return turned.reshape(x.shape)


def attention(p, x):
    batch, length, dim = x.shape
    q, k, v = (linear(p[name], x).reshape(batch, length, HEADS, -1) for name in ("q", "k", "v"))
    q, k = rotary(q), rotary(k)
    scores = jnp.einsum("bthd,bshd->bhts", q, k)
    scores = scores / np.sqrt(dim // HEADS)
    distance = jnp.arange(length)[:, None] - jnp.arange(length)[None, :]
    visible = (distance >= 0) & (distance < WINDOW)
    scores = jnp.where(visible, scores, -jnp.inf)
    out = jnp.einsum("bhts,bshd->bthd", jax.nn.softmax(scores, axis=-1), v)
    return linear(p["o"], out.reshape(batch, length, dim))


def mlp(p, x):
    hidden = jnp.square(jax.nn.relu(linear(p["up"], x)))
    return linear(p["down"], hidden)


def decoder(params, x):
    for p in params["layers"]:
        x = x + attention(p["attention"], layer_norm(p["norm1"], x))
        x = x + mlp(p["mlp"], layer_norm(p["norm2"], x))
    return x


def init(seed, dim=24, hidden=36, layers=2):
    rng = np.random.default_rng(seed)

    def dense(rows, columns, bias=True):
        w = jnp.asarray(rng.standard_normal((rows, columns), np.float32) / np.sqrt(rows))
        return {"w": w, "b": jnp.zeros(columns)} if bias else {"w": w}

    def layer():
        return {
            "norm1": jnp.ones(dim),
            "attention": {
                "q": dense(dim, dim),
                "k": dense(dim, dim, bias=False),
                "v": dense(dim, dim),
                "o": dense(dim, dim),
            },
            "norm2": jnp.ones(dim),
            "mlp": {"up": dense(dim, hidden), "down": dense(hidden, dim)},
        }

    return {"layers": [layer() for _ in range(layers)]}


def make():
    return decoder, init(0)


def weights(state):
    leaves = {}
    for i in range(2):
        old, new = f"layers.{i}.", f"layers/{i}/"
        leaves[new + "norm1"] = state[old + "attention_norm.weight"]
        leaves[new + "norm2"] = state[old + "mlp_norm.weight"]
        for name in "qkvo":
            leaves[f"{new}attention/{name}/w"] = state[f"{old}attention.w{name}.weight"].T
            if name != "k":
                leaves[f"{new}attention/{name}/b"] = state[f"{old}attention.w{name}.bias"]
        for ours, theirs in (("up", "mlp_in"), ("down", "mlp_out")):
            leaves[f"{new}mlp/{ours}/w"] = state[f"{old}{theirs}.weight"].T
            leaves[f"{new}mlp/{ours}/b"] = state[f"{old}{theirs}.bias"]
    return leaves
