"""A student trained on a frozen teacher's answers and on labels: NNX, nnx.Optimizer, piecewise rate."""

import jax
import jax.numpy as jnp
import optax
from flax import nnx


class BatchNorm(nnx.BatchNorm):
    """PyTorch's: the running variance is the unbiased one."""

    def __call__(self, x, *args, **kwargs):
        if self.use_running_average:
            return super().__call__(x, *args, **kwargs)
        n = x.size / x.shape[-1]
        old = self.var[...]
        y = super().__call__(x, *args, **kwargs)
        self.var[...] = self.momentum * old + (self.var[...] - self.momentum * old) * n / (n - 1)
        return y


class ConvNet(nnx.Module):
    def __init__(self, width, rngs):
        self.conv = nnx.Conv(3, width, (3, 3), use_bias=False, rngs=rngs)
        self.bn = BatchNorm(width, momentum=0.9, epsilon=1e-5, rngs=rngs)
        self.fc = nnx.Linear(width, 5, rngs=rngs)

    def __call__(self, x):
        return self.fc(nnx.relu(self.bn(self.conv(x))).mean(axis=(1, 2)))


T, ALPHA = 4.0, 0.3


@nnx.jit
def train_step(state, x, y):
    student, teacher, optimizer = state

    def loss_fn(student):
        logits = student(x)
        soft = jax.lax.stop_gradient(jax.nn.softmax(teacher(x) / T))
        kd = jnp.sum(soft * (jnp.log(soft) - jax.nn.log_softmax(logits / T)), axis=-1).mean() * T**2
        return ALPHA * optax.softmax_cross_entropy_with_integer_labels(logits, y).mean() + (1 - ALPHA) * kd

    loss, grads = nnx.value_and_grad(loss_fn)(student)
    optimizer.update(student, grads)
    return loss


def training():
    student, teacher = ConvNet(4, nnx.Rngs(0)), ConvNet(8, nnx.Rngs(1))
    teacher.eval()
    rate = optax.piecewise_constant_schedule(0.1, {3: 0.2, 6: 0.2})
    tx = optax.chain(optax.add_decayed_weights(5e-4), optax.sgd(rate, momentum=0.9, nesterov=True))
    return (student, teacher, nnx.Optimizer(student, tx, wrt=nnx.Param)), train_step
