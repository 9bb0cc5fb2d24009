"""Multi-layer perceptrons: a row of linear layers with ReLU between them."""

from functools import partial
from itertools import pairwise

import jax
from flax import linen as nn

from experiment.registry import Entry
from jaxnets.layers import flatten, linear, relu


class MLP(nn.Module):
    """Linear layers of the widths in `hidden`, then one for the classes; (N, H, W, C) to (N, num_classes)."""

    in_features: int
    hidden: tuple[int, ...]
    num_classes: int = 10

    def setup(self):
        widths = (self.in_features, *self.hidden)
        self.fc = [linear(n_in, n_out) for n_in, n_out in pairwise(widths)]
        self.head = linear(widths[-1], self.num_classes)

    def __call__(self, x: jax.Array, *, train: bool = False) -> jax.Array:
        """Return logits."""
        x = flatten(x)  # (N, in_features)
        for fc in self.fc:
            x = relu(fc(x))
        return self.head(x)


MODELS = {
    "mlp": Entry(
        partial(MLP, in_features=784, hidden=(256, 128, 64, 32)),
        (28, 28, 1),
        244_522,
        "784-256-128-64-32-10",
        "head",
    ),
    "custom_mlp": Entry(
        partial(MLP, in_features=1024, hidden=(48,) * 6),
        (32, 32, 1),
        61_450,
        "1024-48-48-48-48-48-48-10, as many parameters as LeNet-5",
        "head",
    ),
}
