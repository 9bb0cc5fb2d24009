"""QuizDNN: a densely added network for CIFAR-10, in which each layer is given the sum of those before it."""

import jax
from flax import linen as nn

from experiment.registry import Entry
from jaxnets.layers import BatchNorm, conv2d, global_average_pool, linear, max_pool, relu


class Unit(nn.Module):
    """A 3x3 convolution to 64 channels, then ReLU, then BatchNorm (in this order); (N, H, W, C) to (N, H, W, 64)."""

    in_channels: int

    def setup(self):
        self.conv = conv2d(self.in_channels, 64, 3, padding=1)
        self.bn = BatchNorm(64)

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        return self.bn(relu(self.conv(x)), train=train)


class QuizDNN(nn.Module):
    """Nine units in three groups; (N, 32, 32, 3) to (N, num_classes). The numbers are those of the activations."""

    num_classes: int = 10

    def setup(self):
        self.unit1 = Unit(3)
        self.unit2 = Unit(64)
        self.unit3 = Unit(64)
        self.unit5 = Unit(64)
        self.unit6 = Unit(64)
        self.unit7 = Unit(64)
        self.unit9 = Unit(64)
        self.unit10 = Unit(64)
        self.unit11 = Unit(64)
        self.fc = linear(64, self.num_classes)

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


MODELS = {"quizdnn": Entry(QuizDNN, (32, 32, 3), 299_018, "nine 3x3 convolutions of 64, added up", "fc")}
