"""The same block ported to Flax, with the bug of a well-known notebook: the max-pool's result is overwritten."""

import jax.numpy as jnp
from flax import linen as nn


class Net(nn.Module):
    """Classify (N, H, W, 3) images into ten classes; returns logits (N, 10)."""

    @nn.compact
    def __call__(self, x, train=False):
        """Return logits."""
        x = nn.relu(nn.Conv(8, (3, 3))(x))
        conv = nn.Conv(8, (3, 3))(x)
        pool = nn.max_pool(x, (3, 3), strides=(1, 1), padding="SAME")
        pool = nn.Conv(8, (1, 1))(x)  # the bug: should be applied to `pool`
        x = jnp.concatenate([conv, pool], axis=-1)
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
        return nn.Dense(10)(nn.relu(x).mean((1, 2)))
