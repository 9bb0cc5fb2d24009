"""A small Inception network for CIFAR-10 and audio, after Szegedy et al. 2015, arXiv 1409.4842, with BatchNorm."""

from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn

from experiment.geometry import window
from experiment.registry import Entry, Small
from jaxnets.layers import BatchNorm, conv, global_average_pool, linear, max_pool, relu, sequential

# Channels of the paths: 1x1; 1x1 then 3x3; 1x1 then 5x5; max-pool then 1x1. None: a max-pool between two blocks.
BLOCKS: tuple["Channels | None", ...] = (
    (32, 32, 64, 8, 16, 16),
    (48, 48, 96, 12, 24, 24),
    None,
    (64, 64, 128, 16, 32, 32),
    (96, 96, 192, 24, 48, 48),
)
Channels = tuple[int, int, int, int, int, int]


class Unit(nn.Module):
    """Convolution, BatchNorm, ReLU, (N, ..., in_channels) to (N, ..., out_channels)."""

    in_channels: int
    out_channels: int
    kernel_size: int
    dims: int

    def setup(self):
        size = window(self.dims, self.kernel_size)
        self.conv = conv(self.dims, self.in_channels, self.out_channels, size, padding=size // 2, bias=False)
        self.bn = BatchNorm(self.out_channels)

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        return relu(self.bn(self.conv(x), train=train))


class InceptionBlock(nn.Module):
    """Four paths side by side, (N, ..., in_channels) to (N, ..., the sum of their channels)."""

    in_channels: int
    channels: Channels
    dims: int

    def setup(self):
        n, (c1, c3_in, c3, c5_in, c5, c_pool), d = self.in_channels, self.channels, self.dims
        size = window(d, 3)
        self.path1 = [Unit(n, c1, 1, d)]
        self.path3 = [Unit(n, c3_in, 1, d), Unit(c3_in, c3, 3, d)]
        self.path5 = [Unit(n, c5_in, 1, d), Unit(c5_in, c5, 5, d)]
        self.path_pool = [partial(max_pool, size=size, stride=1, padding=size // 2), Unit(n, c_pool, 1, d)]

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        paths = (self.path1, self.path3, self.path5, self.path_pool)
        return jnp.concatenate([sequential(path, x, train=train) for path in paths], axis=-1)


class Inception(nn.Module):
    """A stem, four blocks, one linear layer; (N, H, W, C), or (N, length, C), to (N, num_classes)."""

    in_channels: int = 3
    dims: int = 2
    num_classes: int = 10
    width: int = 64  # of the stem
    rows: tuple[Channels | None, ...] = BLOCKS

    def setup(self):
        size = window(self.dims, 3)
        self.pool = partial(max_pool, size=size, stride=window(self.dims, 2), padding=size // 2)
        self.stem = Unit(self.in_channels, self.width, 3, self.dims)
        blocks, channels = [], self.width
        for row in self.rows:
            blocks += [InceptionBlock(channels, row, self.dims) if row else self.pool]
            channels = row[0] + row[2] + row[4] + row[5] if row else channels
        self.blocks = blocks
        self.fc = linear(channels, self.num_classes)

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Return logits."""
        x = self.pool(self.stem(x, train=train))  # (N, H / 2, W / 2, 64)
        x = sequential(self.blocks, x, train=train)  # (N, H / 4, W / 4, 384)
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
