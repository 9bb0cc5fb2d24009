"""The two parts of a frozen network: what makes features of inputs, and the head, which alone is trained."""

from copy import copy

import torch
from torch import nn


def part(model: nn.Module, method: str) -> nn.Module:
    """Return a network that calls one of its methods; layers, their names and their parameters are the same."""

    def forward(self: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
        """Call it; features (N, channels, 1, 1) are what the loader keeps, `head` takes (N, channels)."""
        return getattr(self, method)(inputs.flatten(1) if method == "head" else inputs)

    found = copy(model)  # of which a deep copy, as the moving average's, must call its own layers: so a class
    found.__class__ = type(f"{type(model).__name__}.{method}", (type(model),), {"forward": forward})
    return found


def parts(model: nn.Module) -> tuple[nn.Module, nn.Module] | None:
    """Return the part of a network that is frozen, and its head; None if more than the head is trained."""
    if not getattr(model, "frozen", False):
        return None
    return part(model, "features"), part(model, "head")
