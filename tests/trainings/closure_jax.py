"""RMSprop with momentum and an exponential rate, by nnx."""

import jax
import optax
from flax import nnx


class Net(nnx.Module):
    def __init__(self, rngs):
        self.l1, self.l2 = nnx.Linear(12, 16, rngs=rngs), nnx.Linear(16, 12, rngs=rngs)

    def __call__(self, x):
        return self.l2(jax.nn.selu(self.l1(x)))


@nnx.jit
def step(state, a, b):
    model, optimizer = state

    def loss_fn(model):
        return (1 - optax.cosine_similarity(model(a), b, epsilon=1e-8)).mean()

    loss, grads = nnx.value_and_grad(loss_fn)(model)
    optimizer.update(model, grads)
    return loss


def training():
    model = Net(nnx.Rngs(0))
    rate = optax.exponential_decay(1e-2, 1, 0.9)
    tx = optax.chain(
        optax.scale_by_rms(0.9, eps=1e-8, eps_in_sqrt=False), optax.trace(0.5), optax.scale_by_learning_rate(rate)
    )
    return (model, nnx.Optimizer(model, tx, wrt=nnx.Param)), step
