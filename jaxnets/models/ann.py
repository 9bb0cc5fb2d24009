"""The regularised perceptron for Fashion-MNIST: two hidden layers with BatchNorm, ReLU and Dropout."""

import jax
from flax import linen as nn

from experiment.registry import Entry
from jaxnets.layers import BatchNorm, flatten, linear, relu


class ANN(nn.Module):
    """784-128-64-num_classes; (N, 28, 28, 1) to (N, num_classes)."""

    num_classes: int = 10
    dropout: float = 0.2

    def setup(self):
        self.fc1 = linear(784, 128)
        self.bn1 = BatchNorm(128)
        self.drop1 = nn.Dropout(self.dropout)
        self.fc2 = linear(128, 64)
        self.bn2 = BatchNorm(64)
        self.drop2 = nn.Dropout(self.dropout)
        self.fc3 = linear(64, self.num_classes)

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Return logits."""
        x = flatten(x)  # (N, 784)
        x = relu(self.bn1(self.fc1(x), train=train))
        x = self.drop1(x, deterministic=not train)
        x = relu(self.bn2(self.fc2(x), train=train))
        x = self.drop2(x, deterministic=not train)
        return self.fc3(x)


MODELS = {"ann": Entry(ANN, (28, 28, 1), 109_770, "784-128-64-10, BatchNorm, ReLU, Dropout", "fc3")}
