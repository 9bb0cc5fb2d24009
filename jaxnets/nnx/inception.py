"""A small Inception network for CIFAR-10 and audio, after Szegedy et al. 2015, arXiv 1409.4842, with BatchNorm."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from experiment.geometry import window
from experiment.registry import Entry, Small
from jaxnets.nnx.layers import BatchNorm, conv, global_average_pool, linear, max_pool, relu, sequential

# Channels of the paths: 1x1; 1x1 then 3x3; 1x1 then 5x5; max-pool then 1x1. None: a max-pool between two blocks.
BLOCKS: tuple["Channels | None", ...] = (
    (32, 32, 64, 8, 16, 16),
    (48, 48, 96, 12, 24, 24),
    None,
    (64, 64, 128, 16, 32, 32),
    (96, 96, 192, 24, 48, 48),
)
Channels = tuple[int, int, int, int, int, int]


class Unit(nnx.Module):
    """Convolution, BatchNorm, ReLU, (N, ..., in_channels) to (N, ..., out_channels)."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, dims: int, *, rngs: nnx.Rngs):
        size = window(dims, kernel_size)
        self.conv = conv(dims, in_channels, out_channels, size, padding=size // 2, bias=False, rngs=rngs)
        self.bn = BatchNorm(out_channels)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the activations."""
        return relu(self.bn(self.conv(x)))


class InceptionBlock(nnx.Module):
    """Four paths side by side, (N, ..., in_channels) to (N, ..., the sum of their channels)."""

    def __init__(self, in_channels: int, channels: Channels, dims: int, *, rngs: nnx.Rngs):
        n, (c1, c3_in, c3, c5_in, c5, c_pool), d = in_channels, channels, dims
        size = window(d, 3)
        self.path1 = nnx.List([Unit(n, c1, 1, d, rngs=rngs)])
        self.path3 = nnx.List([Unit(n, c3_in, 1, d, rngs=rngs), Unit(c3_in, c3, 3, d, rngs=rngs)])
        self.path5 = nnx.List([Unit(n, c5_in, 1, d, rngs=rngs), Unit(c5_in, c5, 5, d, rngs=rngs)])
        pool = partial(max_pool, size=size, stride=1, padding=size // 2)
        self.path_pool = nnx.List([pool, Unit(n, c_pool, 1, d, rngs=rngs)])

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the paths' channels, one path after the other."""
        paths = (self.path1, self.path3, self.path5, self.path_pool)
        return jnp.concatenate([sequential(path, x) for path in paths], axis=-1)


class Inception(nnx.Module):
    """A stem, four blocks, one linear layer; (N, H, W, C), or (N, length, C), to (N, num_classes)."""

    def __init__(
        self,
        in_channels: int = 3,
        dims: int = 2,
        num_classes: int = 10,
        width: int = 64,  # of the stem
        rows: tuple[Channels | None, ...] = BLOCKS,
        *,
        rngs: nnx.Rngs,
    ):
        size = window(dims, 3)
        self.pool = partial(max_pool, size=size, stride=window(dims, 2), padding=size // 2)
        self.stem = Unit(in_channels, width, 3, dims, rngs=rngs)
        blocks, channels = [], width
        for row in rows:
            blocks += [InceptionBlock(channels, row, dims, rngs=rngs) if row else self.pool]
            channels = row[0] + row[2] + row[4] + row[5] if row else channels
        self.blocks = nnx.List(blocks)
        self.fc = linear(channels, num_classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return logits."""
        x = self.pool(self.stem(x))  # (N, H / 2, W / 2, 64)
        x = sequential(self.blocks, x)  # (N, H / 4, W / 4, 384)
        return self.fc(global_average_pool(x))


SMALL = {"width": 8, "rows": ((8, 4, 8, 4, 4, 4), (8, 8, 8, 4, 4, 4), None, (8, 8, 16, 4, 8, 8), (16, 8, 16, 4, 8, 8))}
QUICK = {"rows": ((8, 4, 8, 4, 4, 4), None, (8, 8, 16, 4, 8, 8))}
MODELS = {
    "inception": Entry(
        Inception,
        (32, 32, 3),
        483_650,
        "four Inception blocks, arXiv 1409.4842",
        "fc",
        any_size=True,
        small=Small((32, 32, 3), SMALL, QUICK),
    ),
    "inception_1d": Entry(
        partial(Inception, in_channels=1, dims=1),
        (8000, 1),
        482_498,
        "four Inception blocks, arXiv 1409.4842, for waveforms",
        "fc",
        small=Small((2000, 1), SMALL, QUICK),
    ),
}
