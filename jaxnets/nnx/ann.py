"""The regularised perceptron for Fashion-MNIST: two hidden layers with BatchNorm, ReLU and Dropout."""

import jax
from flax import nnx

from experiment.registry import Entry
from jaxnets.nnx.layers import BatchNorm, flatten, linear, relu


class ANN(nnx.Module):
    """784-128-64-num_classes; (N, 28, 28, 1) to (N, num_classes)."""

    def __init__(self, num_classes: int = 10, dropout: float = 0.2, *, rngs: nnx.Rngs):
        self.fc1 = linear(784, 128, rngs=rngs)
        self.bn1 = BatchNorm(128)
        self.drop1 = nnx.Dropout(dropout, rngs=rngs)
        self.fc2 = linear(128, 64, rngs=rngs)
        self.bn2 = BatchNorm(64)
        self.drop2 = nnx.Dropout(dropout, rngs=rngs)
        self.fc3 = linear(64, num_classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return logits."""
        x = flatten(x)  # (N, 784)
        x = relu(self.bn1(self.fc1(x)))
        x = self.drop1(x)
        x = relu(self.bn2(self.fc2(x)))
        x = self.drop2(x)
        return self.fc3(x)


MODELS = {"ann": Entry(ANN, (28, 28, 1), 109_770, "784-128-64-10, BatchNorm, ReLU, Dropout", "fc3")}
