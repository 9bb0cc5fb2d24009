"""The classifier in Flax: it computes what the one in PyTorch computes."""

from functools import partial

import jax
from flax import linen as nn

gelu = partial(nn.gelu, approximate=False)


class Net(nn.Module):
    """Classify images (N, 8, 8, 1); returns logits (N, 10)."""

    dim: int = 32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return logits."""
        x = gelu(nn.Conv(self.dim, (3, 3), strides=2, padding=1)(x))  # (N, 4, 4, dim)
        x = x + gelu(nn.Conv(self.dim, (3, 3), padding=1)(x))
        x = nn.LayerNorm(epsilon=1e-5)(x.mean((1, 2)))  # (N, dim)
        return nn.Dense(10)(gelu(nn.Dense(4 * self.dim)(x)))
