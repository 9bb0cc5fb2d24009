"""Convolutions, in the way that is quickest where they run; a network's layers need not know.

On a GPU it is always `jax.lax.conv_general_dilated`. On a CPU XLA has slow cases, and each gets another way to the
same sums here. All can be differentiated, forward, too, and mapped by `jax.vmap`. Measured in docs/xla_on_cpu.md.
"""

import itertools
import math
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial, reduce
from operator import add
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

TERMS = 75  # of a sum that is still quicker by shifted images: 5x5 of three channels
Sizes = tuple[int, ...]  # of each spatial axis
Convolution = Callable[[jax.Array, jax.Array], jax.Array]  # of (N, ..., C) and a kernel (..., C, O)

# The ways of our own, and what each gains: a step of a whole training, XLA's time over ours, on two quiet cores. All
# gain in each supported JAX, so none is chosen by version; for which shapes, `_taken` says.
LOWERINGS = {
    "longer": "single layers: up to 100 times",
    "shifted": "lenet5 1.18 in 0.12.0.1, 1.21 in 0.10.2",
    "banded": "lenet5 1.23 in 0.12.0.1, 1.16 in 0.10.2",
    "once": "inception 1.18 in 0.12.0.1, simple_cnn 1.08 in 0.10.2",
    "sums": "inception 1.12 in 0.12.0.1, 1.22 in 0.10.2",
}
DIRECT = ContextVar("direct", default=False)  # all are XLA's own: for who reads a program instead of running it


def convolve(x: jax.Array, kernel: jax.Array, strides: Any, padding: Any, **options: Any) -> jax.Array:
    """Return `jax.lax.conv_general_dilated`: (N, ..., C), kernel (..., C, O), to (N, ..., O)."""
    for length, size, pads in zip(x.shape[1:-1], kernel.shape[:-2], padding, strict=True):
        if length + sum(pads) < size:  # XLA would return an empty array
            shapes = f"{'x'.join(map(str, kernel.shape[:-2]))} does not fit into inputs {x.shape}"
            raise ValueError(f"a kernel of {shapes}: the network needs larger ones")
    direct: Convolution = partial(jax.lax.conv_general_dilated, window_strides=strides, padding=padding, **options)
    if jax.default_backend() != "cpu" or DIRECT.get():
        return direct(x, kernel)
    on_cpu = partial(_on_cpu, direct, strides=tuple(strides), padding=padding)
    x = computed_once(x)
    mesh = jax.sharding.get_abstract_mesh()  # said by `jaxnets.sharding.sharing`
    if mesh.axis_types != (AxisType.Auto,) or len(x) % mesh.size:
        return computed_once(on_cpu(x, kernel))
    # Each device its own examples; left to itself, XLA would gather all of them for the loop of `_shifted`.
    return jax.shard_map(on_cpu, in_specs=(P(*mesh.axis_names), P()), out_specs=P(*mesh.axis_names))(x, kernel)


def computed_once(x: jax.Array) -> jax.Array:
    """Return `x`; on a CPU it and its gradient are computed once, not again in each operation that reads them.

    Without this, XLA fuses a BatchNorm with the transposition for the kernel's gradient, and a max-pool's gradient
    with each of the sums over it.
    """
    return jax.lax.optimization_barrier(x) if wanted("once") else x


def wanted(name: str) -> bool:
    """Return whether one of `LOWERINGS` is to be taken on this device."""
    return jax.default_backend() == "cpu" and not DIRECT.get() and name in LOWERINGS


def _on_cpu(direct: Convolution, x: jax.Array, kernel: jax.Array, strides: Sizes, padding: Any) -> jax.Array:
    taken = _taken(x, kernel, strides, padding)
    if "longer" in taken:
        return _with_longer_input(direct, x, kernel, _positions(x, kernel, strides, padding))
    value = partial(_shifted, padding=padding) if "shifted" in taken else direct
    banded = partial(_banded, strides=strides, padding=padding)
    if "banded" in taken:
        return _with_derivative(value, by_kernel=banded, by_input=banded)(x, kernel)
    if "shifted" in taken:
        return _with_derivative(value, by_kernel=direct, by_input=direct)(x, kernel)
    return direct(x, kernel)


def _taken(x: jax.Array, kernel: jax.Array, strides: Sizes, padding: Any) -> set[str]:
    """Return the ones of `LOWERINGS` that suit these shapes."""
    sizes, lengths, (channels, outputs) = kernel.shape[:-2], x.shape[1:-1], kernel.shape[-2:]
    padded = [length + sum(pads) for length, pads in zip(lengths, padding, strict=True)]
    wide = padded[-1] / sizes[-1]  # how many times as many products the banded kernel takes
    terms, itemsize = math.prod(kernel.shape[:-1]), x.dtype.itemsize
    suits = {
        "longer": any(size > length for size, length in zip(sizes, lengths, strict=True)),
        # A sum of bfloat16 would be rounded at each term.
        "shifted": channels <= 3 and terms <= TERMS and set(strides) == {1} and itemsize >= 4,
        "banded": len(sizes) == 2 and channels <= 16 and outputs <= 128 and wide <= 8,
    }
    return {name for name, suited in suits.items() if suited and wanted(name)}


def _positions(x: jax.Array, kernel: jax.Array, strides: Sizes, padding: Any) -> Sizes:
    axes = zip(x.shape[1:-1], kernel.shape[:-2], strides, padding, strict=True)
    return tuple((length + sum(pads) - size) // stride + 1 for length, size, stride, pads in axes)


def _pad(x: jax.Array, padding: Any) -> jax.Array:
    return jnp.pad(x, ((0, 0), *padding, (0, 0)))


def _with_longer_input(direct: Convolution, x: jax.Array, kernel: jax.Array, wanted: Sizes) -> jax.Array:
    """Convolve with a kernel larger than `x`, as late layers meet it in small images and short sounds.

    XLA is up to 100 times slower there. So `x` gets more zeros at the end, and what those add is cut off; the barriers
    keep XLA from undoing that.
    """
    short = [max(size - length, 0) for size, length in zip(kernel.shape, x.shape[1:-1], strict=False)]
    x = jax.lax.optimization_barrier(_pad(x, [(0, more) for more in short]))
    y = jax.lax.optimization_barrier(direct(x, kernel))
    return y[(slice(None), *(slice(length) for length in wanted))]


def _with_derivative(value: Convolution, *, by_kernel: Convolution, by_input: Convolution) -> Convolution:
    """Return the convolution `value` with derivatives computed in other ways.

    The value is XLA's or that of `_shifted`. Both round alike at all positions, so that what is equal in the image, as
    a background is, stays equal, and max-pool takes the first of it, as in PyTorch.
    """
    convolution = jax.custom_jvp(value)

    def differentiate(primals: Any, tangents: Any) -> tuple[jax.Array, jax.Array]:
        (x, kernel), (dx, dkernel) = primals, tangents
        return value(x, kernel), by_input(dx, kernel) + by_kernel(x, dkernel)

    convolution.defjvp(differentiate)
    return convolution


def _shifted(x: jax.Array, kernel: jax.Array, padding: Any) -> jax.Array:
    """Convolve `x` (N, ..., C), of one to three channels, as a sum of shifted images, each times one of the kernel's.

    XLA makes one loop of it all, along the outputs' channels; its own convolution has vectors of C numbers there.
    """

    def convolve_one(x: jax.Array) -> jax.Array:
        terms = []
        for tap in itertools.product(*map(range, kernel.shape[:-2])):
            ends = (length - size + i + 1 for i, size, length in zip(tap, kernel.shape, x.shape, strict=False))
            part = x[tuple(map(slice, tap, ends))]
            terms += [part[..., c : c + 1] * kernel[tap][c] for c in range(x.shape[-1])]
        return reduce(add, terms)

    # Else XLA would do all of it again in each reader, max-pool's above all; through a loop it does not look.
    return jax.lax.map(convolve_one, _pad(x, padding))


def _banded(x: jax.Array, kernel: jax.Array, strides: Sizes, padding: Any) -> jax.Array:
    """Convolve `x` (N, H, W, C), of few channels, as a product of matrices with whole rows of the image.

    The kernel (K, L, C, O) is written out for each position along the width: most of that matrix is zero, yet a
    product with it is quicker than XLA's loops over so few channels, which do not fill a vector register.
    """
    x = _pad(x, padding)
    (rows, columns, channels, outputs), (down, along) = kernel.shape, strides
    height, width = _positions(x, kernel, strides, ((0, 0),) * 2)
    # (L, W, width): 1 where a tap at a position falls on a column of the image
    falls_on = np.zeros((columns, x.shape[2], width))
    for tap, position in itertools.product(range(columns), range(width)):
        falls_on[tap, position * along + tap, position] = 1
    band = jnp.einsum("hlco,lwp->hwcpo", kernel, jnp.asarray(falls_on, kernel.dtype))
    taps = [x[:, i : i + (height - 1) * down + 1 : down].reshape(len(x), height, -1) for i in range(rows)]
    y = jnp.concatenate(taps, axis=-1) @ band.reshape(rows * x.shape[2] * channels, width * outputs)
    return y.reshape(len(x), height, width, outputs)
