"""What lesson 11 plants its traps in: a pair of networks, and a pair of trainings."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
import torch
from flax import linen as nn
from torch.nn import functional

from jaxnets.layers import BatchNorm, conv2d, flatten, linear

DECAY = 0.1


class Net(nn.Module):
    """Classify digits (N, 8, 8, 1)."""

    make_conv: Any = partial(conv2d, 1, 4, 3, stride=2, padding=1)
    make_norm: Any = partial(BatchNorm, 4)
    gelu: Any = partial(jax.nn.gelu, approximate=False)
    flatten: Any = flatten

    def setup(self):
        self.conv = self.make_conv()
        self.norm = self.make_norm()
        self.fc1 = linear(64, 16)
        self.fc2 = linear(16, 10)

    def __call__(self, x, *, train=False):
        x = self.gelu(self.norm(self.conv(x), train=train))  # (N, 4, 4, 4)
        return self.fc2(self.gelu(self.fc1(self.flatten(x))))


class TorchNet(torch.nn.Module):
    """Classify digits (N, 1, 8, 8)."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.norm = torch.nn.BatchNorm2d(4)
        self.fc1 = torch.nn.Linear(64, 16)
        self.fc2 = torch.nn.Linear(16, 10)

    def forward(self, x):
        x = functional.gelu(self.norm(self.conv(x)))  # (N, 4, 4, 4)
        return self.fc2(functional.gelu(self.fc1(torch.flatten(x, 1))))


def jax_training():
    """Return a state, and a function of state and batch that returns the new state and the loss."""
    model = nn.Dense(10)
    tx = optax.adamw(1e-2, weight_decay=DECAY)
    params = model.init(jax.random.key(0), jnp.zeros((1, 64)))
    state = params, tx.init(params)

    @jax.jit
    def step(state, x, y):
        params, opt_state = state

        def objective(params):
            logits: Any = model.apply(params, x)
            return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

        loss, grads = jax.value_and_grad(objective)(params)
        updates, opt_state = tx.update(grads, opt_state, params)
        return (optax.apply_updates(params, updates), opt_state), loss

    return state, step


def torch_training():
    """Return a module, and a function that trains it for a step and returns the loss."""
    torch.manual_seed(0)
    model = torch.nn.Linear(64, 10)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, weight_decay=DECAY)

    def step(x, y):
        optimizer.zero_grad()
        loss = functional.cross_entropy(model(torch.as_tensor(x)), torch.as_tensor(y))
        loss.backward()
        optimizer.step()
        return loss.item()

    return model, step
