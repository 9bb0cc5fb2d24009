"""The layers of `jaxnets.layers` in NNX: weights are made at once, and a layer itself knows whether it is in training.

Arguments come in PyTorch's order; then `rngs`, of which each layer takes its keys. What has no weights is Linen's.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from flax.linen import initializers

from jaxnets.batch_statistics import normalise, statistics
from jaxnets.convolution import convolve
from jaxnets.layers import flatten as flatten
from jaxnets.layers import global_average_pool as global_average_pool
from jaxnets.layers import he_normal as he_normal
from jaxnets.layers import max_pool as max_pool
from jaxnets.layers import relu as relu
from jaxnets.layers import uniform as uniform
from jaxnets.layers import uniform_bias


def linear(
    in_features: int, out_features: int, *, init: initializers.Initializer = uniform, rngs: nnx.Rngs
) -> Callable[[jax.Array], jax.Array]:
    """Return `torch.nn.Linear`: (N, in_features) to (N, out_features); the inputs themselves for 0 outputs.

    So a network of 0 classes returns the features in front of its last layer.
    """
    if out_features == 0:
        return identity
    return nnx.Linear(in_features, out_features, kernel_init=init, bias_init=uniform_bias(in_features), rngs=rngs)


def conv(
    dims: int,
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    stride: int = 1,
    padding: int = 0,
    *,
    bias: bool = True,
    init: initializers.Initializer = uniform,
    rngs: nnx.Rngs,
) -> nnx.Conv:
    """Return `torch.nn.Conv1d` or `2d`: (N, ..., in_channels) to (N, ..., out_channels)."""
    return nnx.Conv(
        in_channels,
        out_channels,
        (kernel_size,) * dims,
        strides=stride,
        # Written out: Flax's default is SAME, which pads (0, 1) at stride 2 where padding=1 pads (1, 1) (trap 4).
        padding=((padding, padding),) * dims,
        use_bias=bias,
        kernel_init=init,
        bias_init=uniform_bias(in_channels * kernel_size**dims),
        conv_general_dilated=convolve,
        rngs=rngs,
    )


conv2d = partial(conv, 2)


def identity(x: jax.Array) -> jax.Array:
    """Return `x`, like `torch.nn.Identity`."""
    return x


class BatchNorm(nnx.Module):
    """`torch.nn.BatchNorm1d` and `2d`: over all axes but the last, (..., C).

    Attributes:
        num_features: C.
        epsilon: added to the variance.
        momentum: share of the *new* statistics, as in PyTorch; in Flax's it is the old one's (trap 2).
        use_running_average: set by `module.train()` and `module.eval()`; like PyTorch's, a module starts in training.

    Raises:
        ValueError: one value per channel in training, which has no variance.
    """

    def __init__(self, num_features: int, epsilon: float = 1e-5, momentum: float = 0.1):
        self.num_features, self.epsilon, self.momentum = num_features, epsilon, momentum
        self.use_running_average = False
        self.scale = nnx.Param(jnp.ones(num_features, jnp.float32))
        self.bias = nnx.Param(jnp.zeros(num_features, jnp.float32))
        self.mean = nnx.BatchStat(jnp.zeros(num_features, jnp.float32))
        self.var = nnx.BatchStat(jnp.ones(num_features, jnp.float32))
        self.num_batches_tracked = nnx.BatchStat(jnp.zeros((), int))

    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalise by the batch's statistics and keep them (in training), or by the kept ones."""
        x_mean, x_var = self.mean[...], self.var[...]
        if not self.use_running_average:
            n = x.size // self.num_features
            if n == 1:
                raise ValueError("BatchNorm cannot train on one value per channel; use a larger batch")
            wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
            x_mean, x_var = statistics(wide)
            # The kept variance is the unbiased one, n/(n-1), the one normalised by is not (trap 1).
            self.mean[...] = (1 - self.momentum) * self.mean[...] + self.momentum * x_mean
            self.var[...] = (1 - self.momentum) * self.var[...] + self.momentum * x_var * (n / (n - 1))
            self.num_batches_tracked[...] += 1
            return normalise(wide, self.scale[...], self.bias[...], self.epsilon).astype(x.dtype)
        y = (x - x_mean) * (jax.lax.rsqrt(x_var + self.epsilon) * self.scale[...]) + self.bias[...]
        return y.astype(x.dtype)  # under bfloat16 only what is in between is wider


def sequential(layers: Iterable[Callable[..., Any]], x: jax.Array) -> jax.Array:
    """Return `torch.nn.Sequential(*layers)(x)`; `nnx.Sequential` would call its layers "layers_0", not "0"."""
    for layer in layers:
        x = layer(x)
    return x
