"""A convolutional network for Fashion-MNIST: two convolutions with BatchNorm, three linear layers with Dropout."""

import jax
from flax import nnx

from experiment.registry import Entry
from jaxnets.nnx.layers import BatchNorm, conv2d, flatten, linear, max_pool, relu


class FashionCNN(nnx.Module):
    """Convolutions 32-64, linear 3136-128-64-num_classes; (N, 28, 28, 1) to (N, num_classes)."""

    def __init__(self, num_classes: int = 10, dropout: float = 0.25, *, rngs: nnx.Rngs):
        self.conv1 = conv2d(1, 32, 3, padding=1, rngs=rngs)
        self.bn1 = BatchNorm(32)
        self.conv2 = conv2d(32, 64, 3, padding=1, rngs=rngs)
        self.bn2 = BatchNorm(64)
        self.fc1 = linear(3136, 128, rngs=rngs)
        self.drop1 = nnx.Dropout(dropout, rngs=rngs)
        self.fc2 = linear(128, 64, rngs=rngs)
        self.drop2 = nnx.Dropout(dropout, rngs=rngs)
        self.fc3 = linear(64, num_classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return logits."""
        x = max_pool(relu(self.bn1(self.conv1(x))), 2)  # (N, 14, 14, 32)
        x = max_pool(relu(self.bn2(self.conv2(x))), 2)  # (N, 7, 7, 64)
        x = flatten(x)  # (N, 3136)
        x = self.drop1(relu(self.fc1(x)))
        x = self.drop2(relu(self.fc2(x)))
        return self.fc3(x)


MODELS = {"fashion_cnn": Entry(FashionCNN, (28, 28, 1), 429_450, "convolutions 32-64, linear 3136-128-64-10", "fc3")}
