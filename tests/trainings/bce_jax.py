"""Several labels for each example, binary cross-entropy, RMSprop, a rate per epoch: the JAX side, NNX."""

import jax
import optax
from flax import nnx

EPOCH = 4  # steps


class MLP(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.fc1 = nnx.Linear(12, 16, rngs=rngs)
        self.fc2 = nnx.Linear(16, 6, rngs=rngs)

    def __call__(self, x):
        return self.fc2(jax.nn.elu(self.fc1(x)))


def rate(step):
    return 1e-2 * 0.5 ** (step // EPOCH // 2)


def loss_fn(model, x, y):
    logits = model(x)
    positive = 2.0 * y * jax.nn.log_sigmoid(logits)
    negative = (1 - y) * jax.nn.log_sigmoid(-logits)
    return -(positive + negative).mean()


@nnx.jit
def step(state, x, y):
    model, optimizer = state
    loss, grads = nnx.value_and_grad(loss_fn)(model, x, y)
    optimizer.update(model, grads)
    return state, loss


def training():
    model = MLP(nnx.Rngs(0))
    tx = optax.rmsprop(rate, decay=0.99, eps=1e-8, eps_in_sqrt=False)
    return (model, nnx.Optimizer(model, tx, wrt=nnx.Param)), step
