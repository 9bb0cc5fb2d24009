"""QuizDNN: a densely added network for CIFAR-10, in which each layer is given the sum of those before it."""

import jax
from flax import nnx

from experiment.registry import Entry, Small
from jaxnets.nnx.layers import BatchNorm, conv2d, global_average_pool, linear, max_pool, relu


class Unit(nnx.Module):
    """A 3x3 convolution, then ReLU, then BatchNorm (in this order); (N, H, W, C) to (N, H, W, width)."""

    def __init__(self, in_channels: int, width: int, *, rngs: nnx.Rngs):
        self.conv = conv2d(in_channels, width, 3, padding=1, rngs=rngs)
        self.bn = BatchNorm(width)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the normalised activations."""
        return self.bn(relu(self.conv(x)))


class QuizDNN(nnx.Module):
    """Nine units in three groups; (N, 32, 32, 3) to (N, num_classes). The numbers are those of the activations."""

    def __init__(self, num_classes: int = 10, width: int = 64, *, rngs: nnx.Rngs):
        self.unit1 = Unit(3, width, rngs=rngs)
        self.unit2 = Unit(width, width, rngs=rngs)
        self.unit3 = Unit(width, width, rngs=rngs)
        self.unit5 = Unit(width, width, rngs=rngs)
        self.unit6 = Unit(width, width, rngs=rngs)
        self.unit7 = Unit(width, width, rngs=rngs)
        self.unit9 = Unit(width, width, rngs=rngs)
        self.unit10 = Unit(width, width, rngs=rngs)
        self.unit11 = Unit(width, width, rngs=rngs)
        self.fc = linear(width, num_classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return logits."""
        x1 = self.unit1(x)  # (N, 32, 32, 64)
        x2 = self.unit2(x1)
        x3 = self.unit3(x1 + x2)
        x4 = max_pool(x1 + x2 + x3, 2)  # (N, 16, 16, 64)
        x5 = self.unit5(x4)
        x6 = self.unit6(x4 + x5)
        x7 = self.unit7(x4 + x5 + x6)
        x8 = max_pool(x5 + x6 + x7, 2)  # (N, 8, 8, 64)
        x9 = self.unit9(x8)
        x10 = self.unit10(x8 + x9)
        x11 = self.unit11(x8 + x9 + x10)
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
