"""Sharpness-aware minimization around SGD with momentum. Linen."""

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax.training.train_state import TrainState


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(5)(jnp.tanh(nn.Dense(16)(x)))


@jax.jit
def step(state, x, y):
    def loss_fn(params):
        return optax.softmax_cross_entropy_with_integer_labels(state.apply_fn(params, x), y).mean()

    loss, grads = jax.value_and_grad(loss_fn)(state.params)
    norm = optax.tree.norm(grads)
    noised = jax.tree.map(lambda p, g: p + 0.05 * g / (norm + 1e-12), state.params, grads)
    return state.apply_gradients(grads=jax.grad(loss_fn)(noised)), loss


def training():
    net = Net()
    params = net.init(jax.random.key(0), jnp.zeros((1, 12)))
    return TrainState.create(apply_fn=net.apply, params=params, tx=optax.sgd(0.1, momentum=0.9)), step
