"""Computing in a narrower dtype than that of the weights."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn


class InPrecision(nn.Module):
    """A network that computes in `dtype`; logits are float32."""

    def __init__(self, module: nn.Module, dtype: torch.dtype):
        super().__init__()
        self.module, self.dtype = module, dtype

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return logits (N, classes) of inputs (N, C, ...)."""
        return in_precision(self.module, self.dtype)(inputs)


def in_precision(call: Callable[..., torch.Tensor], dtype: torch.dtype) -> Callable[..., torch.Tensor]:
    """Return `call`, whose last argument are inputs and which returns logits, computed in `dtype`.

    Under PyTorch's autocast the weights of layers that multiply are rounded; BatchNorm keeps its own.
    """

    def rounded(*args: Any) -> torch.Tensor:
        *first, inputs = args
        with torch.autocast(inputs.device.type, dtype):
            return call(*first, inputs.to(dtype)).float()

    return rounded
