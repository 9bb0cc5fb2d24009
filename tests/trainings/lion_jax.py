"""Lion by optax, Linen."""

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax.training.train_state import TrainState


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Dense(16)(x)
        x = x * jnp.tanh(jax.nn.softplus(x))
        return nn.Dense(5)(nn.RMSNorm(epsilon=1e-6)(x))


@jax.jit
def step(state, x, y):
    def loss_fn(params):
        logits = state.apply_fn(params, x)
        return -jnp.mean(jnp.sum(jax.nn.one_hot(y, 5) * jax.nn.log_softmax(logits), -1))

    loss, grads = jax.value_and_grad(loss_fn)(state.params)
    return state.apply_gradients(grads=grads), loss


def training():
    net = Net()
    params = net.init(jax.random.key(0), jnp.zeros((1, 12)))
    return TrainState.create(
        apply_fn=net.apply, params=params, tx=optax.lion(1e-3, b1=0.9, b2=0.99, weight_decay=0.1)
    ), step
