"""DQN as in CleanRL's JAX file: a TrainState with target parameters, copied every three steps."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax.training.train_state import TrainState as Base


class QNetwork(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Dense(12)(x))
        x = nn.relu(nn.Dense(8)(x))
        return nn.Dense(3)(x)


class TrainState(Base):
    target_params: Any


q_network: Any = QNetwork()
tx = optax.chain(optax.clip(0.05), optax.adam(2.5e-3))


@jax.jit
def update(q_state, observations, actions, rewards, next_observations, dones):
    q_next = q_network.apply(q_state.target_params, next_observations).max(axis=-1)
    target = rewards + 0.99 * q_next * (1 - dones)

    def huber(params):
        q_pred = q_network.apply(params, observations)
        q_pred = q_pred[jnp.arange(q_pred.shape[0]), actions]
        return optax.huber_loss(q_pred, target, delta=1.0).mean()

    loss, grads = jax.value_and_grad(huber)(q_state.params)
    q_state = q_state.apply_gradients(grads=grads)
    followed = optax.periodic_update(q_state.params, q_state.target_params, q_state.step, 3)
    return q_state.replace(target_params=followed), loss


def training():
    params = q_network.init(jax.random.PRNGKey(0), jnp.zeros((1, 4)))
    return TrainState.create(apply_fn=q_network.apply, params=params, target_params=params, tx=tx), update
