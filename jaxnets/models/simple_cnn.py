"""The simplest convolutional network for CIFAR-10: two convolutions, two max-pools, one linear layer."""

import jax
from flax import linen as nn

from experiment.registry import Entry
from jaxnets.layers import conv2d, flatten, linear, max_pool, relu


class SimpleCNN(nn.Module):
    """Convolutions 32-64, linear 4096-num_classes; (N, 32, 32, 3) to (N, num_classes)."""

    num_classes: int = 10

    def setup(self):
        self.conv1 = conv2d(3, 32, 3, padding=1)
        self.conv2 = conv2d(32, 64, 3, padding=1)
        self.fc = linear(4096, self.num_classes)

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Return logits."""
        x = max_pool(relu(self.conv1(x)), 2)  # (N, 16, 16, 32)
        x = max_pool(relu(self.conv2(x)), 2)  # (N, 8, 8, 64)
        x = flatten(x)  # (N, 4096)
        return self.fc(x)


MODELS = {"simple_cnn": Entry(SimpleCNN, (32, 32, 3), 60_362, "convolutions 32-64, linear 4096-10", "fc")}
