"""SGD by hand: fori_loop over the examples."""

import jax
import jax.numpy as jnp


def loss_fn(params, x, y):
    (w1, b1), (w2, b2) = params
    logits = jnp.dot(jnp.tanh(jnp.dot(x, w1) + b1), w2) + b2
    return -jax.nn.log_softmax(logits)[y]


@jax.jit
def step(params, x, y):
    def body(i, carry):
        loss, grads = carry
        one, g = jax.value_and_grad(loss_fn)(params, x[i], y[i])
        return loss + one, jax.tree.map(jnp.add, grads, g)

    n = x.shape[0]
    loss, grads = jax.lax.fori_loop(0, n, body, (jnp.zeros((), x.dtype), jax.tree.map(jnp.zeros_like, params)))
    return jax.tree.map(lambda p, g: p - 0.1 * (g / n + 1e-3 * p), params, grads), loss / n


def training():
    k = jax.random.split(jax.random.key(0))
    return [
        (0.1 * jax.random.normal(k[0], (12, 16)), jnp.zeros(16)),
        (0.1 * jax.random.normal(k[1], (16, 5)), jnp.zeros(5)),
    ], step
