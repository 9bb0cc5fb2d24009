"""The same network in Flax: it computes what the one in PyTorch computes."""

from flax import linen as nn


class Net(nn.Module):
    """Classify images (N, 8, 8, 1); returns logits (N, 10)."""

    dim: int = 32
    heads: int = 4

    @nn.compact
    def __call__(self, x, train=False):
        """Return logits."""
        x = nn.Conv(self.dim, (3, 3), strides=2, padding=1)(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))  # (N, 4, 4, dim)
        x = x.reshape(len(x), -1, self.dim)  # (N, 16, dim)
        x = x + nn.MultiHeadDotProductAttention(self.heads)(x)
        y = nn.Dense(4 * self.dim)(nn.LayerNorm(epsilon=1e-5)(x))
        x = x + nn.Dense(self.dim)(nn.gelu(y, approximate=False))
        return nn.Dense(10)(x.mean(axis=1))
