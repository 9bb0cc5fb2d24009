"""Right pairs that XLA computes wrong on a CPU where reductions go to its library, each by another fault."""

import jax
import jax.numpy as jnp
import torch
from flax import linen as nn
from torch import nn as torch_nn


class TorchRows(torch_nn.Module):
    """The squared norm of each row's product, (N, 3) to (N, 1)."""

    def __init__(self):
        super().__init__()
        self.weight = torch_nn.Parameter(torch.randn(3, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x @ self.weight).square().sum(1, keepdim=True)


class FlaxRows(nn.Module):
    """The same, one row at a time: wrong in jaxlib 0.10.2, from 16,385 rows on."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        weight = self.param("weight", nn.initializers.lecun_normal(), (3, 3))
        return jax.vmap(lambda row: jnp.sum((weight @ row) ** 2))(x)[:, None]


class TorchConstant(torch_nn.Module):
    """A matrix of each example times a constant one, (N, 8) to (N, 60)."""

    def __init__(self):
        super().__init__()
        self.fc = torch_nn.Linear(8, 3600)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        square = self.fc(x).unflatten(1, (60, 60))
        return (square @ torch.full_like(square, 0.5) * square).sum(-1)


class FlaxConstant(nn.Module):
    """The same: wrong in jaxlib 0.10.2 to 0.12.0.1."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        square = nn.Dense(3600, name="fc")(x).reshape(-1, 60, 60)
        return (square @ jnp.full_like(square, 0.5) * square).sum(-1)


class TorchMaximum(torch_nn.Module):
    """A layer and the maximum over windows with holes, (N, 128) to (N / 2, 255)."""

    def __init__(self):
        super().__init__()
        self.fc = torch_nn.Linear(128, 128)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.fc(x).tanh()
        high = torch.maximum(x[::2], x[1::2])
        return torch.stack([high, torch.zeros_like(high)], -1).flatten(1)[:, :-1]


class FlaxMaximum(nn.Module):
    """The same: wrong in jaxlib 0.10.2 to 0.12.0.1, in a single operation."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = jnp.tanh(nn.Dense(128, name="fc")(x))
        window = {"window_dimensions": (2, 1), "window_strides": (2, 1), "padding": ((0, 0), (0, 0))}
        x = jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, base_dilation=(1, 2), **window)
        return jnp.where(jnp.isfinite(x), x, 0)
