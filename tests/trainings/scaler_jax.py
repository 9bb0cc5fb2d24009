"""A static loss scale, gradients unscaled before clipping, `lax.cond` every second batch. Equinox."""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

SCALE, ACCUM = 1024.0, 2


def make_model(key):
    a, b = jax.random.split(key)
    gelu = eqx.nn.Lambda(jax.nn.gelu)
    return eqx.nn.Sequential([eqx.nn.Linear(12, 16, key=a), gelu, eqx.nn.LayerNorm(16), eqx.nn.Linear(16, 5, key=b)])


tx = optax.adamw(3e-3, weight_decay=0.02)


class State(eqx.Module):
    model: eqx.Module
    opt_state: optax.OptState
    grads: eqx.Module
    i: jax.Array


@eqx.filter_jit
def step(state, x, y):
    def loss_fn(model):
        loss = optax.softmax_cross_entropy_with_integer_labels(jax.vmap(model)(x), y).mean()
        return loss * SCALE / ACCUM, loss

    (_, loss), grads = eqx.filter_value_and_grad(loss_fn, has_aux=True)(state.model)
    grads = jax.tree.map(lambda a, g: a + g / SCALE, state.grads, grads)
    params, static = eqx.partition(state.model, eqx.is_inexact_array)

    def apply(args):
        params, opt_state, grads = args
        scale = jnp.minimum(1.0, 0.3 / (optax.tree.norm(grads) + 1e-6))
        updates, opt_state = tx.update(jax.tree.map(lambda g: g * scale, grads), opt_state, params)
        return optax.apply_updates(params, updates), opt_state, jax.tree.map(jnp.zeros_like, grads)

    i = state.i + 1
    params, opt_state, grads = jax.lax.cond(i % ACCUM == 0, apply, lambda args: args, (params, state.opt_state, grads))
    return State(eqx.combine(params, static), opt_state, grads, i), loss


def training():
    model = make_model(jax.random.key(0))
    params = eqx.filter(model, eqx.is_inexact_array)
    return State(model, tx.init(params), jax.tree.map(jnp.zeros_like, params), jnp.array(0)), step
