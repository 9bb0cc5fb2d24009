"""GoogLeNet: Szegedy et al. 2015, "Going deeper with convolutions", arXiv 1409.4842, with BatchNorm.

In torchvision's names and shapes, without auxiliary heads. Two oddities are torchvision's: the path that the paper
calls 5x5 is 3x3, and BatchNorm's epsilon is 1e-3 (traps 2 and 6).
"""

from functools import partial

import jax
import jax.numpy as jnp
from flax import linen as nn

from experiment.registry import Entry, Small
from jaxnets.layers import BatchNorm, conv2d, global_average_pool, linear, max_pool, normal_001, relu, sequential

# Channels of the branches: 1x1; 1x1 then 3x3; 1x1 then "5x5"; max-pool then 1x1.
Channels = tuple[int, int, int, int, int, int]
ROWS: tuple[tuple[str, Channels], ...] = (
    ("inception3a", (64, 96, 128, 16, 32, 32)),
    ("inception3b", (128, 128, 192, 32, 96, 64)),
    ("inception4a", (192, 96, 208, 16, 48, 64)),
    ("inception4b", (160, 112, 224, 24, 64, 64)),
    ("inception4c", (128, 128, 256, 24, 64, 64)),
    ("inception4d", (112, 144, 288, 32, 64, 64)),
    ("inception4e", (256, 160, 320, 32, 128, 128)),
    ("inception5a", (256, 160, 320, 32, 128, 128)),
    ("inception5b", (384, 192, 384, 48, 128, 128)),
)
QUICK: tuple[tuple[str, Channels], ...] = (
    ("inception3a", (16, 16, 32, 8, 8, 8)),
    ("inception4a", (16, 16, 32, 8, 8, 8)),
    ("inception5a", (32, 16, 32, 8, 16, 16)),
)
POOL_BEFORE = {"inception4a": 3, "inception5a": 2}  # sizes; the stride is 2


class BasicConv2d(nn.Module):
    """Convolution, BatchNorm, ReLU."""

    in_channels: int
    out_channels: int
    kernel_size: int
    stride: int = 1
    padding: int = 0

    def setup(self):
        size, stride, padding = self.kernel_size, self.stride, self.padding
        self.conv = conv2d(self.in_channels, self.out_channels, size, stride, padding, bias=False, init=normal_001)
        self.bn = BatchNorm(self.out_channels, epsilon=1e-3)

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        return relu(self.bn(self.conv(x), train=train))


class Inception(nn.Module):
    """Four branches side by side, (N, H, W, in_channels) to (N, H, W, the sum of their channels)."""

    in_channels: int
    channels: Channels

    def setup(self):
        n, (c1, c3_in, c3, c5_in, c5, c_pool) = self.in_channels, self.channels
        self.branch1 = BasicConv2d(n, c1, 1)
        self.branch2 = [BasicConv2d(n, c3_in, 1), BasicConv2d(c3_in, c3, 3, padding=1)]
        self.branch3 = [BasicConv2d(n, c5_in, 1), BasicConv2d(c5_in, c5, 3, padding=1)]
        self.branch4 = [partial(max_pool, size=3, stride=1, padding=1, ceil=True), BasicConv2d(n, c_pool, 1)]

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        branches = ([self.branch1], self.branch2, self.branch3, self.branch4)
        return jnp.concatenate([sequential(branch, x, train=train) for branch in branches], axis=-1)


class GoogLeNet(nn.Module):
    """Three convolutions, nine Inception blocks, one linear layer; (N, H, W, 3) to (N, num_classes)."""

    num_classes: int = 1000
    rows: tuple[tuple[str, Channels], ...] = ROWS
    dropout_rate: float = 0.2
    transform_input: bool = (
        False  # from ImageNet's statistics to mean and deviation 0.5, as the published weights want
    )

    def setup(self):
        self.conv1 = BasicConv2d(3, 64, 7, stride=2, padding=3)
        self.conv2 = BasicConv2d(64, 64, 1)
        self.conv3 = BasicConv2d(64, 192, 3, padding=1)
        width = 192
        for name, channels in self.rows:
            setattr(self, name, Inception(width, channels))
            width = channels[0] + channels[2] + channels[4] + channels[5]
        self.dropout = nn.Dropout(self.dropout_rate)
        self.fc = linear(width, self.num_classes, init=normal_001)

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Return logits."""
        if self.transform_input:
            mean, std = jnp.asarray((0.485, 0.456, 0.406), x.dtype), jnp.asarray((0.229, 0.224, 0.225), x.dtype)
            x = x * (std / 0.5) + (mean - 0.5) / 0.5
        x = max_pool(self.conv1(x, train=train), 3, 2, ceil=True)  # (N, 56, 56, 64) of 224x224
        x = self.conv3(self.conv2(x, train=train), train=train)
        x = max_pool(x, 3, 2, ceil=True)  # (N, 28, 28, 192)
        for name, _ in self.rows:
            if name in POOL_BEFORE:
                x = max_pool(x, POOL_BEFORE[name], 2, ceil=True)  # (N, 14, 14, 480), (N, 7, 7, 832)
            x = getattr(self, name)(x, train=train)
        x = self.dropout(global_average_pool(x), deterministic=not train)  # (N, 1024)
        return self.fc(x)


MODELS = {
    "googlenet": Entry(
        GoogLeNet,
        (224, 224, 3),
        6_624_904,
        "Szegedy et al. 2015, arXiv 1409.4842",
        "fc",
        any_size=True,
        small=Small((48, 48, 3), {"num_classes": 10}, {"rows": QUICK}),
        torchvision="googlenet",
        pretrained={"transform_input": True},
    )
}
