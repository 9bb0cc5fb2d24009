"""Two layers of LSTM whose state is carried from batch to batch: a list of dicts, a scan for each layer."""

import jax
import jax.numpy as jnp
import optax

LENGTH, WIDTH = 4, 6
tx = optax.adam(1e-2)


def lstm(layer, x, state):
    def cell(state, x):
        h, c = state
        gates = x @ layer["wx"] + layer["bx"] + h @ layer["wh"] + layer["bh"]
        i, f, g, o = jnp.split(gates, 4, -1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h

    return jax.lax.scan(cell, state, x)


@jax.jit
def step(state, x, y):
    def loss_fn(params):
        out, carried = x.reshape(-1, LENGTH, 3).swapaxes(0, 1), []
        for layer, before in zip(params["layers"], state["carried"], strict=True):
            after, out = lstm(layer, out, before)
            carried.append(after)
        logits = out[-1] @ params["head"]["w"] + params["head"]["b"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean(), carried

    (loss, carried), grads = jax.value_and_grad(loss_fn, has_aux=True)(state["params"])
    updates, opt = tx.update(grads, state["opt"])
    return {"params": optax.apply_updates(state["params"], updates), "opt": opt, "carried": carried}, loss


def training():
    def layer(key, features):
        a, b = jax.random.split(key)
        biases = {"bx": jnp.zeros(4 * WIDTH), "bh": jnp.zeros(4 * WIDTH)}
        wx, wh = (jax.random.normal(k, (n, 4 * WIDTH)) / 3 for k, n in ((a, features), (b, WIDTH)))
        return {"wx": wx, "wh": wh, **biases}

    keys = jax.random.split(jax.random.key(0), 3)
    head = {"w": jax.random.normal(keys[2], (WIDTH, 5)), "b": jnp.zeros(5)}
    params = {"layers": [layer(keys[0], 3), layer(keys[1], WIDTH)], "head": head}
    zeros = jnp.zeros((8, WIDTH))
    return {"params": params, "opt": tx.init(params), "carried": [(zeros, zeros), (zeros, zeros)]}, step
