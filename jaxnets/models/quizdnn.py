"""QuizDNN: a densely added network for CIFAR-10, in which each layer is given the sum of those before it."""

import jax
from flax import linen as nn

from experiment.registry import Entry, Small
from jaxnets.layers import BatchNorm, conv2d, global_average_pool, linear, max_pool, relu


class Unit(nn.Module):
    """A 3x3 convolution, then ReLU, then BatchNorm (in this order); (N, H, W, C) to (N, H, W, width)."""

    in_channels: int
    width: int

    def setup(self):
        self.conv = conv2d(self.in_channels, self.width, 3, padding=1)
        self.bn = BatchNorm(self.width)

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        return self.bn(relu(self.conv(x)), train=train)


class QuizDNN(nn.Module):
    """Nine units in three groups; (N, 32, 32, 3) to (N, num_classes). The numbers are those of the activations."""

    num_classes: int = 10
    width: int = 64

    def setup(self):
        self.unit1 = Unit(3, self.width)
        self.unit2 = Unit(self.width, self.width)
        self.unit3 = Unit(self.width, self.width)
        self.unit5 = Unit(self.width, self.width)
        self.unit6 = Unit(self.width, self.width)
        self.unit7 = Unit(self.width, self.width)
        self.unit9 = Unit(self.width, self.width)
        self.unit10 = Unit(self.width, self.width)
        self.unit11 = Unit(self.width, self.width)
        self.fc = linear(self.width, self.num_classes)

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Return logits."""
        x1 = self.unit1(x, train=train)  # (N, 32, 32, 64)
        x2 = self.unit2(x1, train=train)
        x3 = self.unit3(x1 + x2, train=train)
        x4 = max_pool(x1 + x2 + x3, 2)  # (N, 16, 16, 64)
        x5 = self.unit5(x4, train=train)
        x6 = self.unit6(x4 + x5, train=train)
        x7 = self.unit7(x4 + x5 + x6, train=train)
        x8 = max_pool(x5 + x6 + x7, 2)  # (N, 8, 8, 64)
        x9 = self.unit9(x8, train=train)
        x10 = self.unit10(x8 + x9, train=train)
        x11 = self.unit11(x8 + x9 + x10, train=train)
        return self.fc(global_average_pool(x11))


MODELS = {
    "quizdnn": Entry(
        QuizDNN,
        (32, 32, 3),
        299_018,
        "nine 3x3 convolutions of 64, added up",
        "fc",
        any_size=True,
        small=Small((32, 32, 3), {"width": 8}),
    )
}
