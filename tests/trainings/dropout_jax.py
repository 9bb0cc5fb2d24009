"""An MLP with two dropout layers, trained by SGD with momentum and weight decay: the JAX side, Flax's TrainState."""

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from flax.training.train_state import TrainState


class MLP(nn.Module):
    width: int = 16
    classes: int = 5

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Dense(self.width, name="fc1")(x))
        x = nn.Dropout(0.25, deterministic=False)(x)
        x = jnp.tanh(nn.Dense(self.width, name="fc2")(x))
        x = nn.Dropout(0.1, deterministic=False)(x)
        return nn.Dense(self.classes, name="head")(x)


@jax.jit
def step(state, x, y):
    key = jax.random.fold_in(jax.random.key(3), state.step)

    def loss_fn(params):
        logits = state.apply_fn({"params": params}, x, rngs={"dropout": key})
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    loss, grads = jax.value_and_grad(loss_fn)(state.params)
    return state.apply_gradients(grads=grads), loss


def training():
    model = MLP()
    params = model.init({"params": jax.random.key(0), "dropout": jax.random.key(1)}, jnp.zeros((1, 12)))["params"]
    tx = optax.chain(optax.add_decayed_weights(1e-2), optax.sgd(0.1, momentum=0.9))
    return TrainState.create(apply_fn=model.apply, params=params, tx=tx), step
