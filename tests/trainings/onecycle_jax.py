"""OneCycleLR with AdamW, momentum cycled too, focal loss. Equinox, optax.inject_hyperparams."""

import equinox as eqx
import jax
import jax.numpy as jnp
import optax


class MLP(eqx.Module):
    layers: list

    def __init__(self, key):
        a, b = jax.random.split(key)
        self.layers = [eqx.nn.Linear(12, 16, key=a), eqx.nn.Linear(16, 5, key=b)]

    def __call__(self, x):
        return self.layers[1](jax.nn.hard_swish(self.layers[0](x)))


TOTAL, PEAK = 12, 0.3 * 12 - 1


def anneal(start, middle, end, count):
    def cos(a, b, share):
        return b + (a - b) / 2 * (1 + jnp.cos(jnp.pi * share))

    return jnp.where(
        count <= PEAK, cos(start, middle, count / PEAK), cos(middle, end, (count - PEAK) / (TOTAL - 1 - PEAK))
    )


optim = optax.inject_hyperparams(optax.adamw)(
    learning_rate=lambda count: anneal(1e-3, 1e-2, 1e-5, count),
    b1=lambda count: anneal(0.95, 0.85, 0.95, count),
    weight_decay=0.05,
)


def focal_loss(model, x, y):
    ce = optax.softmax_cross_entropy_with_integer_labels(jax.vmap(model)(x), y)
    return (0.25 * (1 - jnp.exp(-ce)) ** 2.0 * ce).mean()


@eqx.filter_jit
def make_step(state, x, y):
    model, opt_state = state
    loss, grads = eqx.filter_value_and_grad(focal_loss)(model, x, y)
    updates, opt_state = optim.update(grads, opt_state, eqx.filter(model, eqx.is_inexact_array))
    return (eqx.apply_updates(model, updates), opt_state), loss


def training():
    model = MLP(jax.random.PRNGKey(0))
    return (model, optim.init(eqx.filter(model, eqx.is_inexact_array))), make_step
