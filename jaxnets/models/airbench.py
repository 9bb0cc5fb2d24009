"""The network of the quickest trainings on CIFAR-10: Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds", arXiv 2404.00498.

Its first layer is never trained: it whitens patches of 2x2 pixels, and starts as the training examples have them.
"""

from functools import partial

import jax
from flax import linen as nn

from experiment.registry import Entry, Small
from jaxnets.layers import BatchNorm, conv2d, flatten, identity_first, linear, max_pool

gelu = partial(jax.nn.gelu, approximate=False)  # the exact one: JAX's default is the tanh approximation (trap 12)


class Group(nn.Module):
    """Two 3x3 convolutions, the first one pooled; (N, H, W, in_channels) to (N, H // 2, W // 2, width)."""

    in_channels: int
    width: int

    def setup(self):
        self.conv1 = conv2d(self.in_channels, self.width, 3, padding=1, bias=False, init=identity_first)
        self.norm1 = BatchNorm(self.width, momentum=0.4)
        self.conv2 = conv2d(self.width, self.width, 3, padding=1, bias=False, init=identity_first)
        self.norm2 = BatchNorm(self.width, momentum=0.4)

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        x = gelu(self.norm1(max_pool(self.conv1(x), 2), train=train))
        return gelu(self.norm2(self.conv2(x), train=train))


class Airbench(nn.Module):
    """Whitening, three groups, a linear layer; (N, 32, 32, 3) to (N, num_classes)."""

    num_classes: int = 10
    width: int = 64

    def setup(self):
        self.whiten = conv2d(3, 24, 2, bias=False)  # 12 directions, and their opposites for the GELU behind them
        self.group1 = Group(24, self.width)
        self.group2 = Group(self.width, 4 * self.width)
        self.group3 = Group(4 * self.width, 4 * self.width)
        self.fc = linear(4 * self.width, self.num_classes)

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Return logits."""
        x = gelu(self.whiten(x))  # (N, 31, 31, 24)
        x = self.group1(x, train=train)  # (N, 15, 15, 64)
        x = self.group2(x, train=train)  # (N, 7, 7, 256)
        x = self.group3(x, train=train)  # (N, 3, 3, 256)
        return self.fc(flatten(max_pool(x, 3)))

    def is_trained(self, name: str) -> bool:
        """Tell whether the layer of this name is trained, or frozen."""
        return name != "whiten"


MODELS = {
    "airbench": Entry(
        Airbench,
        (32, 32, 3),
        1_972_490,
        "Jordan 2024, arXiv 2404.00498",
        "fc",
        num_frozen=288,
        small=Small((32, 32, 3), {"width": 8}),
        whitens="whiten",
    )
}
