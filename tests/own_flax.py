"""The same in Flax, Linen and NNX, with names of their own; BatchNorm is Flax's, whose variance is biased (trap 1)."""

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import nnx

PAD = ((1, 1), (1, 1))


class Net(nn.Module):
    """Linen, with the names that nn.compact gives."""

    norm: bool = True
    shifted: bool = False

    @nn.compact
    def __call__(self, x, deterministic=True):
        x = nn.Conv(8, (3, 3), use_bias=False, padding=((2, 0), (2, 0)) if self.shifted else PAD)(x)
        if self.norm:
            x = nn.BatchNorm(momentum=0.9)(x, use_running_average=deterministic)
        x = nn.relu(x)
        right = nn.silu(nn.Conv(8, (3, 3), padding=PAD)(x))
        left = jnp.tanh(nn.Conv(8, (3, 3), padding=PAD)(x))
        x = nn.ConvTranspose(8, (3, 3), strides=(2, 2), padding=PAD)(jnp.concatenate([left, right], -1))
        x = nn.Dense(8)(x).mean((1, 2))  # a 1x1 convolution in PyTorch
        x = nn.Dropout(0.3, deterministic=deterministic)(nn.relu(nn.Dense(8)(x)))
        return nn.Dense(4)(jnp.tanh(nn.Dense(8)(x)))


class Block(nnx.Module):
    def __init__(self, rngs):
        self.a = nnx.Conv(8, 8, (3, 3), padding=PAD, rngs=rngs)
        self.b = nnx.Conv(8, 8, (3, 3), padding=PAD, rngs=rngs)

    def __call__(self, x):
        return jnp.concatenate([jnp.tanh(self.b(x)), jax.nn.silu(self.a(x))], -1)


class NnxNet(nnx.Module):
    """NNX, with layers in a list, and names that mean something else in PyTorch's module."""

    def __init__(self, *, rngs):
        self.left = nnx.Conv(3, 8, (3, 3), padding=PAD, use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(8, momentum=0.9, rngs=rngs)
        self.stem = Block(rngs)
        self.transposed = nnx.ConvTranspose(16, 8, (3, 3), strides=(2, 2), padding=PAD, rngs=rngs)
        self.point = nnx.Conv(8, 8, (1, 1), rngs=rngs)
        self.layers = nnx.List([nnx.Linear(8, 8, rngs=rngs), nnx.Linear(8, 8, rngs=rngs)])
        self.fc1 = nnx.Linear(8, 4, rngs=rngs)
        self.drop = nnx.Dropout(0.3, rngs=rngs)

    def __call__(self, x):
        x = self.stem(jax.nn.relu(self.norm(self.left(x))))
        x = self.point(self.transposed(x)).mean((1, 2))
        x = self.drop(jax.nn.relu(self.layers[1](x)))
        return self.fc1(jnp.tanh(self.layers[0](x)))


class Scaled(nn.Module):
    @nn.compact
    def __call__(self, x):
        inner = self.param("inner", nn.initializers.normal(), (5,))
        outer = self.param("outer", nn.initializers.normal(), (5,))
        return jnp.tanh(x * inner) * outer


def plain():
    return Net(norm=False)


def shifted():
    return Net(norm=False, shifted=True)
