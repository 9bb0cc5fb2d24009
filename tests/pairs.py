"""A small pair of networks that has a bit of everything, and deliberate bugs for its Flax side.

The numbers in `BUGS` are those of the porting traps that the project documents.
"""

import jax
import jax.numpy as jnp
import torch
from flax import linen as nn
from torch import nn as torch_nn
from torch.nn import functional

from jaxnets.layers import BatchNorm, conv2d, flatten, linear, max_pool, relu

SHAPE = (8, 8, 2)  # convolution with stride 2: (4, 4, 4); max-pool: (2, 2, 4); 16 features


class TorchNet(torch_nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = torch_nn.Conv2d(2, 4, 3, stride=2, padding=1)
        self.bn1 = torch_nn.BatchNorm2d(4)
        self.fc1 = torch_nn.Linear(16, 16)
        self.drop1 = torch_nn.Dropout(0.3)
        self.fc2 = torch_nn.Linear(16, 5)

    def forward(self, x):
        x = functional.relu(self.bn1(self.conv1(x)))
        x = torch.flatten(functional.max_pool2d(x, 2), 1)
        return self.fc2(self.drop1(functional.gelu(self.fc1(x))))


class Untransposed(nn.Module):
    features: int

    @nn.compact
    def __call__(self, x):
        kernel = self.param("kernel", nn.initializers.lecun_normal(), (x.shape[-1], self.features), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        return x @ kernel.T + bias


class FlaxNet(nn.Module):
    bug: str = ""

    def setup(self):
        bug = self.bug
        same = bug.startswith("SAME")
        self.conv1 = nn.Conv(4, (3, 3), strides=2) if same else conv2d(2, 4, 3, stride=2, padding=1)
        if bug.startswith(("biased", "Flax's")):
            self.bn1 = nn.BatchNorm(momentum=0.9 if bug.startswith("biased") else 0.1, epsilon=1e-5)
        else:
            self.bn1 = BatchNorm(4, epsilon=1e-3 if bug.startswith("epsilon") else 1e-5)
        self.fc1 = Untransposed(16) if bug.startswith("square") else linear(16, 16)
        self.drop1 = nn.Dropout(0.7 if bug.startswith("drop for") else 0.3)
        fc2 = linear(16, 6 if bug.startswith("one unit") else 5)
        if bug.startswith("missing bias"):
            fc2 = nn.Dense(5, use_bias=False)
        if bug.startswith("other"):
            self.classifier = fc2
        else:
            self.fc2 = fc2

    def __call__(self, x, *, train=False):
        bug = self.bug
        x = self.conv1(x)
        if bug.startswith("ReLU before"):
            x = relu(x)
        if isinstance(self.bn1, nn.BatchNorm):
            x = self.bn1(x, use_running_average=not train)
        else:
            x = self.bn1(x, train=train and not bug.startswith("frozen"))
        if not bug.startswith(("missing ReLU", "ReLU before")):
            x = relu(x)
        x = nn.avg_pool(x, (2, 2), (2, 2)) if bug.startswith("average") else max_pool(x, 2)
        x = x.reshape(len(x), -1) if bug.startswith("channels") else flatten(x)
        x = jax.nn.gelu(self.fc1(x), approximate=bug.startswith("tanh"))
        x = self.drop1(x, deterministic=not train or bug.startswith("dropout"))
        x = self.classifier(x) if bug.startswith("other") else self.fc2(x)
        return x * jnp.nan if bug.startswith("not a") else x


class Reference(torch_nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.drop, self.head = torch_nn.Linear(4, 7), torch_nn.Dropout(0.5), torch_nn.Linear(7, 3)

    def forward(self, x):
        return self.head(self.drop(torch.relu(self.fc(x))))


class Deterministic(nn.Module):
    @nn.compact
    def __call__(self, x, deterministic=True):
        x = nn.Dropout(0.5, name="drop")(nn.relu(nn.Dense(7, name="fc")(x)), deterministic=deterministic)
        return nn.Dense(3, name="head")(x)


class Maximum(nn.Module):
    @nn.compact
    def __call__(self, x, deterministic=True):
        x = nn.Dropout(0.5, name="drop")(jnp.maximum(nn.Dense(7, name="fc")(x), 0), deterministic=deterministic)
        return nn.Dense(3, name="head")(x)


class TorchNorm(torch_nn.Module):
    def __init__(self):
        super().__init__()
        self.bn, self.fc = torch_nn.BatchNorm1d(4), torch_nn.Linear(4, 3)

    def forward(self, x):
        return self.fc(self.bn(x))


class FlaxNorm(nn.Module):
    fast: bool = False

    @nn.compact
    def __call__(self, x, train=False):
        if self.fast:  # E[x^2] - E[x]^2, Flax's default
            x = nn.BatchNorm(momentum=0.9, epsilon=1e-5, name="bn")(x, use_running_average=not train)
        else:
            x = BatchNorm(4, name="bn")(x, train=train)
        return nn.Dense(3, name="fc")(x)
