"""LeNet-5: LeCun, Bottou, Bengio and Haffner 1998, "Gradient-based learning applied to document recognition".

As it is taught today: max-pool and ReLU in place of trained subsampling and tanh, all maps connected; with dropout
(Srivastava et al. 2014) if wanted. Without BatchNorm: Equinox's has another convention, and a state that is passed on.
"""

import equinox as eqx
import jax

from jaxnets.layers import relu

max_pool = eqx.nn.MaxPool2d(2, 2)  # its default stride is 1, PyTorch's is the window's size


class LeNet5(eqx.Module):
    """Three convolutions and two linear layers; one example, (1, 32, 32) to (num_classes,), channels first."""

    conv1: eqx.nn.Conv2d
    conv2: eqx.nn.Conv2d
    conv3: eqx.nn.Conv2d
    drop1: eqx.nn.Dropout
    fc1: eqx.nn.Linear
    drop2: eqx.nn.Dropout
    fc2: eqx.nn.Linear

    def __init__(self, num_classes: int = 10, dropout: float = 0.0, *, key: jax.Array):
        keys = jax.random.split(key, 5)  # the initial weights are PyTorch's: U(-1/sqrt(fan_in), 1/sqrt(fan_in))
        self.conv1 = eqx.nn.Conv2d(1, 6, 5, key=keys[0])
        self.conv2 = eqx.nn.Conv2d(6, 16, 5, key=keys[1])
        self.conv3 = eqx.nn.Conv2d(16, 120, 5, key=keys[2])
        self.drop1 = eqx.nn.Dropout(dropout)
        self.fc1 = eqx.nn.Linear(120, 84, key=keys[3])
        self.drop2 = eqx.nn.Dropout(dropout)
        self.fc2 = eqx.nn.Linear(84, num_classes, key=keys[4])

    def __call__(self, x: jax.Array, *, key: jax.Array | None = None) -> jax.Array:
        """Return logits; `jax.vmap` calls this for each example, with a key of its own in training."""
        key1, key2 = (None, None) if key is None else jax.random.split(key)
        x = max_pool(relu(self.conv1(x)))  # (6, 14, 14)
        x = max_pool(relu(self.conv2(x)))  # (16, 5, 5)
        x = relu(self.conv3(x))  # (120, 1, 1)
        x = self.drop1(x.reshape(-1), key=key1)  # (120,), channels first as in PyTorch (trap 8)
        x = relu(self.fc1(x))
        x = self.drop2(x, key=key2)
        return self.fc2(x)
