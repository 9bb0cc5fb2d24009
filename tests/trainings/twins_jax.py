"""Two critics in a plain tuple of lists of arrays: (q1, q2, target1, target2, slots1, slots2)."""

import jax
import jax.numpy as jnp
import optax

GAMMA, TAU = 0.99, 0.05
tx = optax.adam(3e-3)


def critic(params, obs, actions):
    (w1, b1), (w2, b2) = params
    x = jnp.concatenate([obs, actions], 1)
    return (jnp.maximum(x @ w1 + b1, 0) @ w2 + b2)[:, 0]


def follow(target, params):
    return jax.tree.map(lambda t, p: (1 - TAU) * t + TAU * p, target, params)


@jax.jit
def step(state, obs, actions, rewards, next_obs, dones, _):
    q1, q2, target1, target2, slots1, slots2 = state
    value = jnp.minimum(critic(target1, next_obs, actions), critic(target2, next_obs, actions))
    goal = rewards.reshape(-1) + GAMMA * (1 - dones.reshape(-1)) * value

    def loss_fn(params):
        return jnp.mean((critic(params, obs, actions) - goal) ** 2)

    loss1, grads1 = jax.value_and_grad(loss_fn)(q1)
    loss2, grads2 = jax.value_and_grad(loss_fn)(q2)
    updates, slots1 = tx.update(grads1, slots1)
    q1 = optax.apply_updates(q1, updates)
    updates, slots2 = tx.update(grads2, slots2)
    q2 = optax.apply_updates(q2, updates)
    return (q1, q2, follow(target1, q1), follow(target2, q2), slots1, slots2), loss1 + loss2


def training():
    def layer(key, *shape):
        return jax.random.normal(key, shape), jnp.zeros(shape[1])

    keys = jax.random.split(jax.random.key(0), 4)
    q1, q2 = ([layer(a, 7, 8), layer(b, 8, 1)] for a, b in (keys[:2], keys[2:]))
    return (q1, q2, q1, q2, tx.init(q1), tx.init(q2)), step
