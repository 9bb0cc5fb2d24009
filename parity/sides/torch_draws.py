"""PyTorch's random numbers, drawn outside and given to an operation that asks for them (trap 20)."""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from parity.sides.random_draws import MASK, TORCH, Draw, Supply
from parity.trace.lines import line_of_stack


class TorchDraws(TorchDispatchMode):
    """A mode under which PyTorch's random numbers come from a supply."""

    def __init__(self, supply: Supply):
        super().__init__()
        self.supply = supply

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation; what it draws is replaced."""
        out = func(*args, **(kwargs or {}))
        name = str(func).removeprefix("aten.").partition(".")[0]
        if name not in TORCH:
            return out
        tensor = out[1] if name == "native_dropout" else out
        keep, scale, shift = _torch_numbers(name, args, kwargs or {})
        draw = Draw(TORCH[name], tuple(tensor.shape), keep, line_of_stack(sys._getframe(1)))
        numbers = torch.from_numpy(np.asarray(np.asarray(self.supply(draw), np.float64) * scale + shift))
        if name == "native_dropout":
            tensor.copy_(numbers)
            out[0].copy_(args[0] * numbers / keep)
        else:
            tensor.copy_(numbers)
        return out


def draws_of(run: Callable[[], Any]) -> list[Draw]:
    """Return what a pass draws, in order; no gradient is kept."""
    found: list[Draw] = []

    def noted(draw: Draw) -> np.ndarray:
        found.append(draw)
        return np.ones(draw.shape)

    with torch.no_grad(), TorchDraws(noted):
        run()
    return found


def _torch_numbers(name: str, args: Any, kwargs: Any) -> tuple[float | None, float, float]:
    """Return the share of ones of a mask, and the scale and shift of other numbers."""
    if name == "native_dropout":
        return 1 - float(args[1]), 1.0, 0.0
    if TORCH[name] == MASK:
        chance = args[1] if len(args) > 1 else kwargs.get("p", args[0] if name == "bernoulli" else 0.5)
        if not isinstance(chance, torch.Tensor):
            return float(chance), 1.0, 0.0
        values = chance.unique()
        return (float(values[0]) if values.numel() == 1 else None), 1.0, 0.0
    if name == "uniform_":
        low = float(args[1] if len(args) > 1 else kwargs.get("from", 0.0))
        return None, float(args[2] if len(args) > 2 else kwargs.get("to", 1.0)) - low, low
    if name == "normal_":
        mean = float(args[1] if len(args) > 1 else kwargs.get("mean", 0.0))
        return None, float(args[2] if len(args) > 2 else kwargs.get("std", 1.0)), mean
    return None, 1.0, 0.0
