"""LeNet-5: LeCun, Bottou, Bengio and Haffner 1998, "Gradient-based learning applied to document recognition".

As it is taught today: max-pool and ReLU in place of trained subsampling and tanh, all maps connected.
"""

import jax
from flax import linen as nn

from experiment.registry import Entry
from jaxnets.layers import conv2d, flatten, linear, max_pool, relu


class LeNet5(nn.Module):
    """Three convolutions and two linear layers, (N, 32, 32, 1) to (N, num_classes)."""

    num_classes: int = 10

    def setup(self):
        self.conv1 = conv2d(1, 6, 5)
        self.conv2 = conv2d(6, 16, 5)
        self.conv3 = conv2d(16, 120, 5)
        self.fc1 = linear(120, 84)
        self.fc2 = linear(84, self.num_classes)

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Return logits."""
        x = max_pool(relu(self.conv1(x)), 2)  # (N, 14, 14, 6)
        x = max_pool(relu(self.conv2(x)), 2)  # (N, 5, 5, 16)
        x = relu(self.conv3(x))  # (N, 1, 1, 120)
        x = flatten(x)  # (N, 120)
        x = relu(self.fc1(x))
        return self.fc2(x)


MODELS = {"lenet5": Entry(LeNet5, (32, 32, 1), 61_706, "LeCun et al. 1998", "fc2")}
