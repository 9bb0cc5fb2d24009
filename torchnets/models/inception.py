"""A small Inception network for CIFAR-10 and audio, after Szegedy et al. 2015, arXiv 1409.4842, with BatchNorm."""

from functools import partial

import torch
from torch import nn
from torch.nn.functional import relu

from experiment.geometry import window
from experiment.registry import Entry, Small
from torchnets.layers import MaxPool, batch_norm, conv, global_average_pool, linear

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
    """Convolution, BatchNorm, ReLU, (N, in_channels, ...) to (N, out_channels, ...)."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, dims: int):
        super().__init__()
        size = window(dims, kernel_size)
        self.conv = conv(dims, in_channels, out_channels, size, padding=size // 2, bias=False)
        self.bn = batch_norm(dims, out_channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the activations."""
        return relu(self.bn(self.conv(x)))


class InceptionBlock(nn.Module):
    """Four paths side by side, (N, in_channels, ...) to (N, the sum of their channels, ...)."""

    def __init__(self, in_channels: int, channels: Channels, dims: int):
        super().__init__()
        n, (c1, c3_in, c3, c5_in, c5, c_pool), d = in_channels, channels, dims
        size = window(d, 3)
        self.path1 = nn.Sequential(Unit(n, c1, 1, d))
        self.path3 = nn.Sequential(Unit(n, c3_in, 1, d), Unit(c3_in, c3, 3, d))
        self.path5 = nn.Sequential(Unit(n, c5_in, 1, d), Unit(c5_in, c5, 5, d))
        self.path_pool = nn.Sequential(MaxPool(size, stride=1, padding=size // 2), Unit(n, c_pool, 1, d))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the paths' channels, one path after the other."""
        paths = (self.path1, self.path3, self.path5, self.path_pool)
        return torch.cat([path(x) for path in paths], dim=1)


class Inception(nn.Module):
    """A stem, four blocks, one linear layer; (N, C, H, W), or (N, C, length), to (N, num_classes)."""

    def __init__(
        self,
        in_channels: int = 3,
        dims: int = 2,
        num_classes: int = 10,
        width: int = 64,  # of the stem
        rows: tuple[Channels | None, ...] = BLOCKS,
    ):
        super().__init__()
        size = window(dims, 3)
        self.pool = MaxPool(size, stride=window(dims, 2), padding=size // 2)
        self.stem = Unit(in_channels, width, 3, dims)
        blocks, channels = [], width
        for row in rows:
            blocks += [InceptionBlock(channels, row, dims) if row else self.pool]
            channels = row[0] + row[2] + row[4] + row[5] if row else channels
        self.blocks = nn.Sequential(*blocks)
        self.fc = linear(channels, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        x = self.pool(self.stem(x))  # (N, 64, H / 2, W / 2)
        x = self.blocks(x)  # (N, 384, H / 4, W / 4)
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
