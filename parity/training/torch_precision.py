"""What a PyTorch training computes and keeps in which type, run as its user runs it."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils._pytree import tree_leaves

from parity.sides.numbers import is_array, tree_map
from parity.trace.lines import Line, line_of_stack
from parity.training.precision import LOSSES, PRODUCTS, Precision, narrowest, unknown
from parity.training.torch_steps import TorchTraining


class _Types:
    """A recorder of the types of operations alone."""

    def __init__(self) -> None:
        self.products: list[tuple[str, Line | None]] = []
        self.losses: list[tuple[str, Line | None]] = []
        self.outputs: list[Any] = []
        self.roots: list[Any] = []

    def number(self, _tensor: torch.Tensor) -> int:
        return 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func).removeprefix("aten.").partition(".")[0]
        tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor) and t.is_floating_point()]
        kinds = [str(t.dtype).removeprefix("torch.") for t in tensors]
        into = self.products if name in PRODUCTS else self.losses if name in LOSSES else None
        if into is not None and kinds:
            into.append((narrowest(kinds), line_of_stack()))
            if into is self.products:
                self.losses.clear()
        return func(*args, **(kwargs or {}))


def torch_precision(make: Callable[[], Any], batch: Sequence[Any], *, as_tensors: bool) -> Precision:
    """Return the types of one step, or what it raises in float32."""
    try:
        return _types(make, batch, as_tensors)
    except Exception as error:  # a training may run in float64 alone
        return unknown(error)


def _types(make: Callable[[], Any], batch: Sequence[Any], as_tensors: bool) -> Precision:
    training, seen = TorchTraining(make, dtype=None), _Types()
    training.as_tensors = as_tensors
    training.run([_single(part) for part in batch], seen)
    names = {id(p): name for name, p in training.module.named_parameters()}
    slots: dict[str, dict[str, str]] = {}
    for optimizer in training.optimizers.values():
        for parameter, state in optimizer.state.items():
            for slot, value in state.items():
                if isinstance(value, torch.Tensor) and value.shape == parameter.shape and id(parameter) in names:
                    slots.setdefault(slot, {})[names[id(parameter)]] = str(value.dtype).removeprefix("torch.")
    params = {name: str(p.dtype).removeprefix("torch.") for name, p in training.module.named_parameters()}
    return Precision(seen.products, seen.losses, params, slots)


def _single(value: Any) -> Any:
    return tree_map(lambda a: np.asarray(a, np.float32) if is_array(a) and a.dtype == np.float64 else a, value)
