"""A convolutional network for Fashion-MNIST: two convolutions with BatchNorm, three linear layers with Dropout."""

import jax
from flax import linen as nn

from experiment.registry import Entry
from jaxnets.layers import BatchNorm, conv2d, flatten, linear, max_pool, relu


class FashionCNN(nn.Module):
    """Convolutions 32-64, linear 3136-128-64-num_classes; (N, 28, 28, 1) to (N, num_classes)."""

    num_classes: int = 10
    dropout: float = 0.25

    def setup(self):
        self.conv1 = conv2d(1, 32, 3, padding=1)
        self.bn1 = BatchNorm(32)
        self.conv2 = conv2d(32, 64, 3, padding=1)
        self.bn2 = BatchNorm(64)
        self.fc1 = linear(3136, 128)
        self.drop1 = nn.Dropout(self.dropout)
        self.fc2 = linear(128, 64)
        self.drop2 = nn.Dropout(self.dropout)
        self.fc3 = linear(64, self.num_classes)

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Return logits."""
        x = max_pool(relu(self.bn1(self.conv1(x), train=train)), 2)  # (N, 14, 14, 32)
        x = max_pool(relu(self.bn2(self.conv2(x), train=train)), 2)  # (N, 7, 7, 64)
        x = flatten(x)  # (N, 3136)
        x = self.drop1(relu(self.fc1(x)), deterministic=not train)
        x = self.drop2(relu(self.fc2(x)), deterministic=not train)
        return self.fc3(x)


MODELS = {"fashion_cnn": Entry(FashionCNN, (28, 28, 1), 429_450, "convolutions 32-64, linear 3136-128-64-10", "fc3")}
