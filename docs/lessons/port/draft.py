"""The classifier in Flax, each layer by the one of the same name: it runs, and it is another network."""

import jax
from flax import linen as nn


class Net(nn.Module):
    """Classify images (N, 8, 8, 1); returns logits (N, 10)."""

    dim: int = 32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return logits."""
        x = nn.gelu(nn.Conv(self.dim, (3, 3), strides=2)(x))  # (N, 4, 4, dim)
        x = x + nn.gelu(nn.Conv(self.dim, (3, 3))(x))
        x = nn.LayerNorm()(x.mean((1, 2)))  # (N, dim)
        return nn.Dense(10)(nn.gelu(nn.Dense(4 * self.dim)(x)))
