"""LeNet-5: LeCun, Bottou, Bengio and Haffner 1998, "Gradient-based learning applied to document recognition".

As it is taught today: max-pool and ReLU in place of trained subsampling and tanh, all maps connected; with BatchNorm
(Ioffe and Szegedy 2015, arXiv 1502.03167) and dropout (Srivastava et al. 2014) if wanted.
"""

from functools import partial

import jax
from flax import nnx

from experiment.registry import Entry
from jaxnets.nnx.layers import BatchNorm, conv2d, flatten, identity, linear, max_pool, relu


class LeNet5(nnx.Module):
    """Three convolutions and two linear layers, (N, 32, 32, 1) to (N, num_classes)."""

    def __init__(self, num_classes: int = 10, batch_norm: bool = False, dropout: float = 0.0, *, rngs: nnx.Rngs):
        self.conv1 = conv2d(1, 6, 5, rngs=rngs)
        self.bn1 = BatchNorm(6) if batch_norm else identity
        self.conv2 = conv2d(6, 16, 5, rngs=rngs)
        self.bn2 = BatchNorm(16) if batch_norm else identity
        self.conv3 = conv2d(16, 120, 5, rngs=rngs)
        self.bn3 = BatchNorm(120) if batch_norm else identity
        self.drop1 = nnx.Dropout(dropout, rngs=rngs)
        self.fc1 = linear(120, 84, rngs=rngs)
        self.bn4 = BatchNorm(84) if batch_norm else identity
        self.drop2 = nnx.Dropout(dropout, rngs=rngs)
        self.fc2 = linear(84, num_classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Return logits."""
        x = max_pool(relu(self.bn1(self.conv1(x))), 2)  # (N, 14, 14, 6)
        x = max_pool(relu(self.bn2(self.conv2(x))), 2)  # (N, 5, 5, 16)
        x = relu(self.bn3(self.conv3(x)))  # (N, 1, 1, 120)
        x = self.drop1(flatten(x))  # (N, 120)
        x = relu(self.bn4(self.fc1(x)))
        x = self.drop2(x)
        return self.fc2(x)


MODELS = {
    "lenet5": Entry(LeNet5, (32, 32, 1), 61_706, "LeCun et al. 1998", "fc2"),
    "lenet5_bn": Entry(
        partial(LeNet5, batch_norm=True), (32, 32, 1), 62_158, "LeCun et al. 1998, with BatchNorm", "fc2"
    ),
}
