"""An MLP in bfloat16 with float32 parameters, trained by Adam with coupled decay: the JAX side."""

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax.training.train_state import TrainState
from flax.typing import Dtype


class MLP(nn.Module):
    dtype: Dtype = jnp.bfloat16

    @nn.compact
    def __call__(self, x):
        x = nn.leaky_relu(nn.Dense(16, dtype=self.dtype, name="fc1")(x), 0.1)
        x = nn.leaky_relu(nn.Dense(16, dtype=self.dtype, name="fc2")(x), 0.1)
        return nn.Dense(5, dtype=self.dtype, name="head")(x)


@jax.jit
def step(state, x, y):
    def loss_fn(params):
        logits = state.apply_fn({"params": params}, x).astype(jnp.float32)
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    loss, grads = jax.value_and_grad(loss_fn)(state.params)
    return state.apply_gradients(grads=grads), loss


def training():
    model = MLP()
    params = model.init(jax.random.key(0), jnp.zeros((1, 12)))["params"]
    tx = optax.chain(optax.add_decayed_weights(1e-2), optax.adam(1e-3))
    return TrainState.create(apply_fn=model.apply, params=params, tx=tx), step
