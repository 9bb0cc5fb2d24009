"""Multi-layer perceptrons: a row of linear layers with ReLU between them."""

from functools import partial
from itertools import pairwise

import torch
from torch import nn
from torch.nn.functional import relu

from experiment.registry import Entry
from torchnets.layers import linear


class MLP(nn.Module):
    """Linear layers of the widths in `hidden`, then one for the classes; (N, C, H, W) to (N, num_classes)."""

    def __init__(self, in_features: int, hidden: tuple[int, ...], num_classes: int = 10):
        super().__init__()
        widths = (in_features, *hidden)
        self.fc = nn.ModuleList(nn.Linear(n_in, n_out) for n_in, n_out in pairwise(widths))
        self.head = linear(widths[-1], num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits."""
        x = torch.flatten(x, 1)  # (N, in_features)
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
