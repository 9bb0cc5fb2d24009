"""BatchNorm's mean, variance and normalisation, in the way that is quickest where they run.

On a CPU XLA adds up a channel in a loop without vectors; a product with ones is several times quicker. Measured in
docs/xla_on_cpu.md.
"""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxnets.convolution import computed_once, wanted

LARGEST = 2**23  # bytes; of a larger input the transposed product, written to memory, costs more than the sum gains
TOGETHER = 16  # positions side by side in one row of the product: sums of fewer terms, so fewer roundings


def statistics(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return mean and biased variance (C,) of each channel of `x` (..., C)."""
    n = x.size // x.shape[-1]
    mean = _sum(x) / n
    # Two passes: E[x^2] - E[x]^2, Flax's default, cancels in float32 (trap 3).
    return mean, _sum(jnp.square(x - mean)) / n


@partial(jax.custom_jvp, nondiff_argnums=(3,))
def normalise(x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float) -> jax.Array:
    """Return `x` (..., C) with the mean `bias` and the standard deviation `scale` (C,) in each channel."""
    mean, var = statistics(x)
    return (x - mean) * (jax.lax.rsqrt(var + epsilon) * scale) + bias


@normalise.defjvp
def _differentiate(epsilon: float, primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
    # JAX's own derivative has four sums over all positions; this one, transposed, has two.
    (x, scale, bias), (dx, dscale, dbias) = primals, tangents
    (mean, var), n = statistics(x), x.size // x.shape[-1]
    inverse = jax.lax.rsqrt(var + epsilon)
    normal = (x - mean) * inverse
    steep = inverse * scale
    along = dscale - steep * _sum(normal * dx) / n
    shift = dbias - steep * _sum(dx) / n
    y = computed_once((x - mean) * steep + bias)
    return y, computed_once(steep * dx + normal * _spread(along, x.shape) + _spread(shift, x.shape))


def _sum(x: jax.Array) -> jax.Array:
    """Return the sum over all axes but the last: (..., C) to (C,)."""
    if not _by_product(x.shape, x.dtype.itemsize):
        return x.sum(tuple(range(x.ndim - 1)))
    together, channels = _together(x.shape), x.shape[-1]
    rows = x.reshape(-1, together * channels)
    return (jnp.ones(len(rows), x.dtype) @ rows).reshape(together, channels).sum(0)


def _spread(row: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Return `row` (C,) at every position of `shape`; the transpose of this is `_sum`."""
    if not _by_product(shape, row.dtype.itemsize):
        return jnp.broadcast_to(row, shape)
    together = _together(shape)
    rows = jnp.ones((math.prod(shape) // (together * shape[-1]), 1), row.dtype)
    return (rows @ jnp.tile(row, together)[None]).reshape(shape)


def _by_product(shape: tuple[int, ...], itemsize: int) -> bool:
    # The transpose of the product writes the sum to every position, where a broadcast would be fused with its reader.
    return wanted("sums") and math.prod(shape) * itemsize <= LARGEST


def _together(shape: tuple[int, ...]) -> int:
    return math.gcd(TOGETHER, math.prod(shape[1:-1]))  # of one example, so that several devices need not exchange any
