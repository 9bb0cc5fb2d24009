"""The few layers whose PyTorch meaning Flax lacks: initial weights, BatchNorm, pooling, flatten.

Arguments come in PyTorch's order, so that a model file reads line by line like its twin.
Images are channels last, (N, H, W, C); see `data.loader`.
"""

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax.linen import initializers

relu = jax.nn.relu  # gradient 0 at 0, as in PyTorch; that of jnp.maximum(x, 0) is 0.5 (trap 11)

# PyTorch draws weights and biases from U(-1/sqrt(fan_in), 1/sqrt(fan_in)); Flax's default is LeCun's normal
# distribution, and zero for biases (trap 17). Variance 1/3 of 1/fan_in is that width.
_kernel_init = initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def _bias_init(fan_in: int) -> initializers.Initializer:
    bound = fan_in**-0.5

    def init(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


def linear(in_features: int, out_features: int) -> nn.Dense:
    """Return `torch.nn.Linear`: (N, in_features) to (N, out_features)."""
    return nn.Dense(out_features, kernel_init=_kernel_init, bias_init=_bias_init(in_features))


def conv2d(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, padding: int = 0) -> nn.Conv:
    """Return `torch.nn.Conv2d`: (N, H, W, in_channels) to (N, H', W', out_channels)."""
    return nn.Conv(
        out_channels,
        (kernel_size, kernel_size),
        strides=stride,
        # Written out: Flax's default is SAME, which pads (0, 1) at stride 2 where padding=1 pads (1, 1) (trap 4).
        padding=((padding, padding), (padding, padding)),
        kernel_init=_kernel_init,
        bias_init=_bias_init(in_channels * kernel_size**2),
    )


class BatchNorm(nn.Module):
    """`torch.nn.BatchNorm1d` and `2d`: over all axes but the last, (..., C).

    Attributes:
        num_features: C.
        epsilon: added to the variance.
        momentum: share of the *new* statistics, as in PyTorch; in Flax's it is the old one's (trap 2).

    Raises:
        ValueError: one value per channel in training, which has no variance.
    """

    num_features: int
    epsilon: float = 1e-5
    momentum: float = 0.1

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Normalise by the batch's statistics and keep them (train), or by the kept ones."""
        shape = (self.num_features,)
        scale = self.param("scale", initializers.ones, shape, jnp.float32)
        bias = self.param("bias", initializers.zeros, shape, jnp.float32)
        mean = self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32)
        var = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)
        count = self.variable("batch_stats", "num_batches_tracked", jnp.zeros, (), int)
        x_mean, x_var = mean.value, var.value
        if train:
            n = x.size // self.num_features
            if n == 1:
                raise ValueError("BatchNorm cannot train on one value per channel; use a larger batch")
            axes = tuple(range(x.ndim - 1))
            wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
            x_mean = wide.mean(axes)
            # Two passes: E[x^2] - E[x]^2, Flax's default, cancels in float32 (trap 3).
            x_var = jnp.square(wide - x_mean).mean(axes)
            # The kept variance is the unbiased one, n/(n-1), the one normalised by is not (trap 1).
            mean.value = (1 - self.momentum) * mean.value + self.momentum * x_mean
            var.value = (1 - self.momentum) * var.value + self.momentum * x_var * (n / (n - 1))
            count.value += 1
        return (x - x_mean) * (jax.lax.rsqrt(x_var + self.epsilon) * scale) + bias


def max_pool(x: jax.Array, size: int) -> jax.Array:
    """Return `torch.nn.functional.max_pool2d(x, size)`: (N, H, W, C) to (N, H // size, W // size, C)."""
    # Flax's default stride is 1, PyTorch's is the window's size.
    return nn.max_pool(x, (size, size), strides=(size, size), padding="VALID")


def flatten(x: jax.Array) -> jax.Array:
    """Return `torch.flatten(x, 1)`: (N, ..., C) to (N, C * ...), channels first, so kernels need no permutation."""
    return jnp.moveaxis(x, -1, 1).reshape(x.shape[0], -1)  # (trap 8)
