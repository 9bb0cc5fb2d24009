"""The few layers whose PyTorch meaning Flax lacks: initial weights, padding, BatchNorm, pooling, flatten.

Arguments come in PyTorch's order, so that a model file reads line by line like its twin.
Everything is channels last, images (N, H, W, C) and waveforms (N, length, C); see `data.loader`.
"""

from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.linen import initializers

from jaxnets.batch_statistics import normalise, statistics
from jaxnets.convolution import convolve

relu = jax.nn.relu  # gradient 0 at 0, as in PyTorch; that of jnp.maximum(x, 0) is 0.5 (trap 11)

# PyTorch draws weights and biases from U(-1/sqrt(fan_in), 1/sqrt(fan_in)); Flax's default is LeCun's normal
# distribution, and zero for biases (trap 17). Variance 1/3 of 1/fan_in is that width.
uniform = initializers.variance_scaling(1 / 3, "fan_in", "uniform")
# He et al. 2015, arXiv 1502.01852, as torchvision has it: over the outputs, and not truncated.
he_normal = initializers.variance_scaling(2.0, "fan_out", "normal")
normal_001 = initializers.normal(0.01)


def identity_first(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> jax.Array:
    """Draw from PyTorch's default, but for the first outputs, which are the inputs: a kernel (..., in, out)."""
    same = jnp.eye(shape[-2], dtype=dtype)[:, : shape[-1]]
    inputs = jnp.zeros((*shape[:-1], same.shape[1]), dtype).at[*(size // 2 for size in shape[:-2])].set(same)
    return uniform(key, shape, dtype).at[..., : same.shape[1]].set(inputs)


def uniform_bias(fan_in: int) -> initializers.Initializer:
    """Return PyTorch's default for the biases of a layer: U(-1/sqrt(fan_in), 1/sqrt(fan_in))."""
    bound = fan_in**-0.5

    def init(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> jax.Array:
        return jax.random.uniform(key, shape, dtype, -bound, bound)

    return init


def _for_inputs(init: initializers.Initializer, count: int) -> initializers.Initializer:
    """Return `init` for a kernel (..., in, out) of so many inputs; Flax takes their number from what it is given."""

    def checked(key: jax.Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> jax.Array:
        if shape[-2] != count:
            kind = "features" if len(shape) == 2 else "channels"
            raise ValueError(f"a layer that takes {count} {kind} is given {shape[-2]}: the inputs have another shape")
        return init(key, shape, dtype)

    return checked


def linear(
    in_features: int, out_features: int, *, init: initializers.Initializer = uniform, zero_bias: bool = False
) -> Callable[..., jax.Array]:
    """Return `torch.nn.Linear`: (N, in_features) to (N, out_features); the inputs themselves for 0 outputs.

    So a network of 0 classes returns the features in front of its last layer.
    """
    if out_features == 0:
        return identity
    bias_init = initializers.zeros if zero_bias else uniform_bias(in_features)
    return nn.Dense(out_features, kernel_init=_for_inputs(init, in_features), bias_init=bias_init)


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
    zero_bias: bool = False,
) -> nn.Conv:
    """Return `torch.nn.Conv1d` or `2d`: (N, ..., in_channels) to (N, ..., out_channels)."""
    return nn.Conv(
        out_channels,
        (kernel_size,) * dims,
        strides=stride,
        # Written out: Flax's default is SAME, which pads (0, 1) at stride 2 where padding=1 pads (1, 1) (trap 4).
        padding=((padding, padding),) * dims,
        use_bias=bias,
        kernel_init=_for_inputs(init, in_channels),
        bias_init=initializers.zeros if zero_bias else uniform_bias(in_channels * kernel_size**dims),
        conv_general_dilated=convolve,
    )


conv2d = partial(conv, 2)


def identity(x: jax.Array, *, train: bool = False) -> jax.Array:  # noqa: ARG001 (called like a BatchNorm)
    """Return `x`, like `torch.nn.Identity`."""
    return x


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
            wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
            x_mean, x_var = statistics(wide)
            # The kept variance is the unbiased one, n/(n-1), the one normalised by is not (trap 1).
            mean.value = (1 - self.momentum) * mean.value + self.momentum * x_mean
            var.value = (1 - self.momentum) * var.value + self.momentum * x_var * (n / (n - 1))
            count.value += 1
            return normalise(wide, scale, bias, self.epsilon).astype(x.dtype)
        y = (x - x_mean) * (jax.lax.rsqrt(x_var + self.epsilon) * scale) + bias
        return y.astype(x.dtype)  # under bfloat16 only what is in between is wider


def sequential(layers: Sequence[Callable[..., Any]], x: jax.Array, *, train: bool) -> jax.Array:
    """Return `torch.nn.Sequential(*layers)(x)`; Flax's own would not tell its layers whether they are in training."""
    for layer in layers:
        if isinstance(layer, nn.Dropout):
            x = layer(x, deterministic=not train)
        elif isinstance(layer, nn.Module) and not isinstance(layer, (nn.Conv, nn.Dense)):
            x = layer(x, train=train)
        else:
            x = layer(x)
    return x


def max_pool(x: jax.Array, size: int, stride: int | None = None, padding: int = 0, *, ceil: bool = False) -> jax.Array:
    """Return `torch.nn.functional.max_pool1d` or `2d`; with `ceil` its `ceil_mode`, which Flax lacks."""
    stride = stride or size  # Flax's default stride is 1, PyTorch's is the window's size
    pads: Any = []  # (before, after) of each axis
    for length in x.shape[1:-1]:
        steps = -(-(length + 2 * padding - size) // stride) if ceil else (length + 2 * padding - size) // stride
        if ceil and steps * stride >= length + padding:  # no window may start in the padding at the end
            steps -= 1
        if steps < 0:
            raise ValueError(f"a window of {size} does not fit into {length} positions")
        pads.append((padding, max(steps * stride + size - length - padding, 0)))
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)), constant_values=-jnp.inf)  # (trap 6)
    for axis in range(x.ndim - 2, 0, -1):  # the width first, so that the first of equals is PyTorch's, too
        end = x.shape[axis] - size + 1
        taps = [jax.lax.slice_in_dim(x, i, i + end, stride, axis) for i in range(size)]
        x = reduce(_larger, taps)
    return x


def _larger(a: jax.Array, b: jax.Array) -> jax.Array:
    # The gradient goes to one of two that are equal; jnp.maximum would give half to each. And XLA's own pooling takes
    # 20 times as long backward on a CPU: measured, 37 ms against 1.7 ms for (64, 32, 32, 32).
    return jnp.where((b > a) | jnp.isnan(b), b, a)


def adaptive_average_pool(x: jax.Array, size: int) -> jax.Array:
    """Return `torch.nn.functional.adaptive_avg_pool2d(x, size)`: (N, H, W, C) to (N, size, size, C)."""
    if x.shape[1:3] == (size, size):
        return x
    # Windows overlap, or repeat, where the size does not divide (trap 7): a matrix of shares says which.
    rows, columns = (jnp.asarray(_shares(length, size), x.dtype) for length in x.shape[1:3])
    return jnp.einsum("nhwc,ih,jw->nijc", x, rows, columns)


def _shares(length: int, size: int) -> np.ndarray:
    shares = np.zeros((size, length))
    for i in range(size):
        start, end = i * length // size, -(-(i + 1) * length // size)
        shares[i, start:end] = 1 / (end - start)
    return shares


def global_average_pool(x: jax.Array) -> jax.Array:
    """Return the mean over all positions: (N, ..., C) to (N, C)."""
    return x.mean(tuple(range(1, x.ndim - 1)))


def pad_same(x: jax.Array, kernel_size: int) -> jax.Array:
    """Pad so that a convolution at stride 1 keeps its size; an even kernel gets one more at the end (trap 5)."""
    before, after = (kernel_size - 1) // 2, kernel_size // 2
    return jnp.pad(x, ((0, 0), *((before, after),) * (x.ndim - 2), (0, 0)))


def flatten(x: jax.Array) -> jax.Array:
    """Return `torch.flatten(x, 1)`: (N, ..., C) to (N, C * ...), channels first, so kernels need no permutation."""
    return jnp.moveaxis(x, -1, 1).reshape(x.shape[0], -1)  # (trap 8)
