"""VGG that shrinks: blocks like VGG's, but with ever fewer channels and ever larger kernels, for CIFAR-10 and audio.

After each pooling the channels fall by 35% and the kernel grows by 25%, both rounded up.
"""

from functools import partial

import torch
from torch import nn
from torch.nn.functional import relu

from experiment.geometry import window
from experiment.registry import Entry, Small
from torchnets.layers import batch_norm, conv, global_average_pool, linear, max_pool, pad_same

BLOCKS = ((2, 64, 3), (2, 42, 4), (3, 28, 5), (3, 19, 7), (3, 13, 9))  # (layers, channels, kernel)


class VGGShrink(nn.Module):
    """Five blocks of convolutions, a linear layer; (N, C, H, W), or (N, C, length), to (N, num_classes)."""

    def __init__(
        self,
        in_channels: int = 3,
        dims: int = 2,
        num_classes: int = 10,
        blocks: tuple[tuple[int, int, int], ...] = BLOCKS,
    ):
        super().__init__()
        self.dims, self.blocks = dims, blocks
        channels = in_channels
        for n, (depth, out, kernel) in enumerate(blocks, 1):
            for m in range(1, depth + 1):
                setattr(self, f"conv{n}_{m}", conv(dims, channels, out, window(dims, kernel)))
                setattr(self, f"bn{n}_{m}", batch_norm(dims, out))
                channels = out
        self.fc = linear(channels, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        for n, (depth, _, kernel) in enumerate(self.blocks, 1):
            for m in range(1, depth + 1):
                x = getattr(self, f"conv{n}_{m}")(pad_same(x, window(self.dims, kernel)))
                x = relu(getattr(self, f"bn{n}_{m}")(x))
            x = max_pool(x, window(self.dims, 2))
        return self.fc(global_average_pool(x))


SMALL = {"blocks": ((2, 8, 3), (2, 6, 4), (3, 4, 5), (3, 4, 7), (3, 4, 9))}
MODELS = {
    "vgg_shrink": Entry(
        VGGShrink,
        (32, 32, 3),
        288_571,
        "VGG, channels -35% and kernels +25% a block",
        "fc",
        any_size=True,
        small=Small((32, 32, 3), SMALL),
    ),
    "vgg_shrink_1d": Entry(
        partial(VGGShrink, in_channels=1, dims=1),
        (8000, 1),
        287_419,
        "VGG, channels -35% and kernels +25% a block, for waveforms",
        "fc",
        small=Small((2000, 1), SMALL),
    ),
}
