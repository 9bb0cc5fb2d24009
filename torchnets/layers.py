"""PyTorch's own layers under the names that `jaxnets.layers` has, where a network exists in one and two dimensions.

Everything is channels first, images (N, C, H, W) and waveforms (N, C, length).
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import nn
from torch.nn import functional

Init = Callable[[torch.Tensor], object]


def uniform(weight: torch.Tensor) -> None:
    """Leave PyTorch's default: U(-1/sqrt(fan_in), 1/sqrt(fan_in))."""


def he_normal(weight: torch.Tensor) -> None:
    """He et al. 2015, arXiv 1502.01852, over the outputs, as torchvision has it."""
    nn.init.kaiming_normal_(weight, mode="fan_out", nonlinearity="relu")


def normal_001(weight: torch.Tensor) -> None:
    """Draw from a normal distribution of standard deviation 0.01."""
    nn.init.normal_(weight, std=0.01)


def identity_first(weight: torch.Tensor) -> None:
    """Leave PyTorch's default, but for the first outputs, which are the inputs: a kernel (out, in, ...)."""
    with torch.no_grad():
        nn.init.dirac_(weight[: weight.shape[1]])


def linear(in_features: int, out_features: int, *, init: Init = uniform, zero_bias: bool = False) -> nn.Module:
    """Return a linear layer: (N, in_features) to (N, out_features); the inputs themselves for 0 outputs.

    So a network of 0 classes returns the features in front of its last layer.
    """
    if out_features == 0:
        return nn.Identity()
    layer = nn.Linear(in_features, out_features)
    init(layer.weight)
    if zero_bias:
        nn.init.zeros_(layer.bias)
    return layer


def conv(
    dims: int,
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    stride: int = 1,
    padding: int = 0,
    *,
    bias: bool = True,
    init: Init = uniform,
    zero_bias: bool = False,
) -> nn.Module:
    """Return a convolution: (N, in_channels, ...) to (N, out_channels, ...)."""
    kind = {1: nn.Conv1d, 2: nn.Conv2d}[dims]
    layer = kind(in_channels, out_channels, kernel_size, stride, padding, bias=bias)
    init(layer.weight)
    if zero_bias and layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


conv2d = partial(conv, 2)


def batch_norm(dims: int, num_features: int, epsilon: float = 1e-5) -> nn.Module:
    """Return BatchNorm over all axes but the channels'."""
    return {1: nn.BatchNorm1d, 2: nn.BatchNorm2d}[dims](num_features, eps=epsilon)


def max_pool(
    x: torch.Tensor, size: int, stride: int | None = None, padding: int = 0, *, ceil: bool = False
) -> torch.Tensor:
    """Return the maximum over windows; the default stride is the window's size."""
    pool = functional.max_pool1d if x.ndim == 3 else functional.max_pool2d
    return pool(x, size, stride, padding, ceil_mode=ceil)


class MaxPool(nn.Module):
    """`max_pool` as a layer of a `torch.nn.Sequential`."""

    def __init__(self, size: int, stride: int | None = None, padding: int = 0, *, ceil: bool = False):
        super().__init__()
        self.size, self.stride, self.padding, self.ceil = size, stride, padding, ceil

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the maximum over windows."""
        return max_pool(x, self.size, self.stride, self.padding, ceil=self.ceil)


def global_average_pool(x: torch.Tensor) -> torch.Tensor:
    """Return the mean over all positions: (N, C, ...) to (N, C)."""
    return x.flatten(2).mean(2)


def pad_same(x: torch.Tensor, kernel_size: int) -> torch.Tensor:
    """Pad so that a convolution at stride 1 keeps its size; an even kernel gets one more at the end (trap 5)."""
    before, after = (kernel_size - 1) // 2, kernel_size // 2
    return functional.pad(x, (before, after) * (x.ndim - 2))
