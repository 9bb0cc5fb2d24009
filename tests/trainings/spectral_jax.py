"""Weight norm in one layer, spectral norm in another, by hand."""

import jax
import jax.numpy as jnp
import optax

tx = optax.adam(1e-3, b1=0.5, b2=0.9)


def normalize(v):
    return v / jnp.maximum(jnp.linalg.norm(v), 1e-12)


def apply(params, u, x):
    first, second = params["first"], params["second"]
    w = first["g"] * first["v"] / jnp.linalg.norm(first["v"], axis=1, keepdims=True)
    x = jax.nn.leaky_relu(x @ w.T + first["b"], 0.1)
    weight = second["w"]
    v = normalize(weight.T @ u)
    u = normalize(weight @ v)
    u, v = jax.lax.stop_gradient((u, v))
    return x @ (weight / (u @ weight @ v)).T + second["b"], u, v


@jax.jit
def step(state, x, y):
    params, opt_state, u, v = state

    def loss_fn(params):
        logits, u1, v1 = apply(params, u, x)
        right = jnp.take_along_axis(logits, y[:, None], 1)
        margin = jnp.maximum(0, 1 - right + logits) * (1 - jax.nn.one_hot(y, 5))
        return (margin.sum(1) / 5).mean(), (u1, v1)

    (loss, (u, v)), grads = jax.value_and_grad(loss_fn, has_aux=True)(params)
    updates, opt_state = tx.update(grads, opt_state)
    return (optax.apply_updates(params, updates), opt_state, u, v), loss


def training():
    k = jax.random.split(jax.random.key(0), 4)
    params = {
        "first": {"g": jnp.ones((16, 1)), "v": jax.random.normal(k[0], (16, 12)), "b": jnp.zeros(16)},
        "second": {"w": jax.random.normal(k[1], (5, 16)), "b": jnp.zeros(5)},
    }
    return (
        params,
        tx.init(params),
        normalize(jax.random.normal(k[2], (5,))),
        normalize(jax.random.normal(k[3], (16,))),
    ), step
