"""TD3 as in CleanRL's JAX file: TrainStates with targets, `lax.cond` for the delayed actor."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax.training.train_state import TrainState as Base


class QNetwork(nn.Module):
    @nn.compact
    def __call__(self, x, a):
        x = nn.relu(nn.Dense(8)(jnp.concatenate([x, a], -1)))
        return nn.Dense(1)(nn.relu(nn.Dense(8)(x)))


class Actor(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.tanh(nn.Dense(2)(nn.relu(nn.Dense(8)(x))))


class TrainState(Base):
    target_params: Any


actor: Any = Actor()
qf: Any = QNetwork()
GAMMA, TAU = 0.99, 0.05


def update_critic(actor_state, qf1_state, qf2_state, obs, actions, next_obs, rewards, dones, noise):
    next_actions = jnp.clip(actor.apply(actor_state.target_params, next_obs) + jnp.clip(noise, -0.5, 0.5), -1, 1)
    q1 = qf.apply(qf1_state.target_params, next_obs, next_actions).reshape(-1)
    q2 = qf.apply(qf2_state.target_params, next_obs, next_actions).reshape(-1)
    next_q = rewards + (1 - dones) * GAMMA * jnp.minimum(q1, q2)

    def mse_loss(params):
        return ((qf.apply(params, obs, actions).squeeze() - next_q) ** 2).mean()

    loss1, grads1 = jax.value_and_grad(mse_loss)(qf1_state.params)
    loss2, grads2 = jax.value_and_grad(mse_loss)(qf2_state.params)
    return qf1_state.apply_gradients(grads=grads1), qf2_state.apply_gradients(grads=grads2), loss1 + loss2


def soft(state):
    return state.replace(target_params=optax.incremental_update(state.params, state.target_params, TAU))


def update_actor(states, obs):
    actor_state, qf1_state, qf2_state = states

    def actor_loss(params):
        return -qf.apply(qf1_state.params, obs, actor.apply(params, obs)).mean()

    grads = jax.grad(actor_loss)(actor_state.params)
    actor_state = actor_state.apply_gradients(grads=grads)
    return soft(actor_state), soft(qf1_state), soft(qf2_state)


@jax.jit
def step(state, obs, actions, rewards, next_obs, dones, noise):
    n, actor_state, qf1_state, qf2_state = state["n"], state["actor"], state["qf1"], state["qf2"]
    qf1_state, qf2_state, loss = update_critic(
        actor_state, qf1_state, qf2_state, obs, actions, next_obs, rewards, dones, noise
    )
    states = (actor_state, qf1_state, qf2_state)
    states = jax.lax.cond(n % 2 == 0, lambda s: update_actor(s, obs), lambda s: s, states)
    return {"n": n + 1, "actor": states[0], "qf1": states[1], "qf2": states[2]}, loss


def training():
    keys = jax.random.split(jax.random.PRNGKey(1), 3)
    x, a = jnp.zeros((1, 5)), jnp.zeros((1, 2))

    def create(params):
        return TrainState.create(apply_fn=qf.apply, params=params, target_params=params, tx=optax.adam(3e-3))

    return {
        "n": jnp.int32(0),
        "actor": create(actor.init(keys[0], x)),
        "qf1": create(qf.init(keys[1], x, a)),
        "qf2": create(qf.init(keys[2], x, a)),
    }, step
