"""Random weights at which nothing is special: what starts as an identity, as zeros or ones tells nothing."""

import copy
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from parity.sides.numbers import to_numpy

GAIN = 1 / np.sqrt(3)  # of a linear layer as PyTorch makes it; smaller ones are raised to it
TABLE = 0.3  # least root mean square of embeddings and other tables
KEEPS_RANGE = re.compile(
    r"(^|[._])(a_log|log_\w+|\w+_log|dt_bias|\w*decay|\w*temperature|\w*logit_scale|logit_bias|\w*freqs?)$", re.I
)


def randomise_(module: nn.Module, trained: frozenset[str], seed: int) -> None:
    """Fill the trained parameters and the statistics of a module; tables and frozen tensors stay as they are."""
    rng = np.random.default_rng([seed, 20])
    owners = {
        f"{path}.{name}".lstrip("."): layer
        for path, layer in module.named_modules()
        for name, _ in layer.named_parameters(recurse=False)
    }
    with torch.no_grad():
        for name, p in module.named_parameters():
            if name in trained and p.numel():
                p.copy_(torch.from_numpy(np.asarray(moved(to_numpy(p), name, owners.get(name), rng))))
        for layer in _with_statistics(module):
            mean, var = layer.running_mean, layer.running_var
            mean.copy_(torch.from_numpy(rng.normal(0, 0.3, mean.shape)))
            var.copy_(torch.from_numpy(rng.uniform(0.5, 2, var.shape)))
            if isinstance(layer.num_batches_tracked, torch.Tensor):
                layer.num_batches_tracked.fill_(int(rng.integers(1, 100)))


def larger(module: nn.Module, factor: float) -> nn.Module:
    """Return a copy whose parameters are so many times as large, but for exponents, temperatures and frequencies."""
    module = copy.deepcopy(module)
    with torch.no_grad():
        for name, p in module.named_parameters():
            if p.is_floating_point() and not KEEPS_RANGE.search(name):
                p.mul_(factor)
    return module


def moved(p: np.ndarray, name: str, owner: nn.Module | None, rng: np.random.Generator) -> np.ndarray:
    """Return random values in place of a parameter's, of the size that its initial ones have where that is a size."""
    size = float(np.sqrt(np.mean(np.square(p))))
    constant = bool(np.all(p == p.flat[0]))
    factors = rng.uniform(0.7, 1.3, p.shape)
    if KEEPS_RANGE.search(name):
        return p * rng.uniform(0.9, 1.1, p.shape) + rng.normal(0, 0.05 * max(size, 0.2), p.shape)
    if constant and size < 1e-2:  # zeros, and layer scales of almost zero
        return _from_nothing(p, name, owner, rng)
    if constant or p.min() > 0:
        return p * rng.uniform(0.5, 1.5, p.shape)
    least = _least(p, name, owner)
    new = np.multiply(factors, p, out=None if np.iscomplexobj(p) else factors)
    more = rng.normal(0, 0.3 * size, p.shape)
    new += more
    new *= max(1.0, least / max(size, 1e-12))
    return new


def _from_nothing(p: np.ndarray, name: str, owner: nn.Module | None, rng: np.random.Generator) -> np.ndarray:
    if p.flat[0] != 0:
        return rng.uniform(0.1, 0.4, p.shape)
    if p.ndim >= 2:
        return rng.normal(0, _least(p, name, owner), p.shape)
    return rng.choice([-1, 1], p.shape) * rng.uniform(0.05, 0.3, p.shape)


def _least(p: np.ndarray, name: str, owner: nn.Module | None) -> float:
    """Return the least root mean square of a parameter that lets its layer's output be seen."""
    weight = "weight" in name.rpartition(".")[2] or "original" in name.rpartition(".")[2]
    if p.ndim < 2:
        return 0.05
    if isinstance(owner, nn.Embedding | nn.EmbeddingBag) or not weight or p.shape[0] == 1:
        return TABLE
    return float(GAIN / np.sqrt(max(1, np.prod(p.shape[1:]))))


def with_statistics_of(module: nn.Module, seed: int, run: Callable[[], Any]) -> None:
    """Give a module's norm layers the statistics of a forward pass, moved at random.

    Wholly random ones would let the activations fade from layer to layer, in a deep network to less than a rounding.
    """
    layers = _with_statistics(module)
    if not layers:
        return
    rng = np.random.default_rng([seed, 21])
    before = [(layer.momentum, layer.num_batches_tracked.clone()) for layer in layers]
    hooks = []
    for layer in layers:
        layer.momentum = 1.0  # the share of the new statistics
        hooks.append(layer.register_forward_pre_hook(lambda m, _: m.train() and None))
    try:
        with torch.no_grad():
            run()
    finally:
        for hook in hooks:
            hook.remove()
        module.eval()
        for layer, (momentum, count) in zip(layers, before, strict=True):
            layer.momentum = momentum
            layer.num_batches_tracked.copy_(count)
    with torch.no_grad():
        for layer in layers:
            mean, var = to_numpy(layer.running_mean), np.maximum(to_numpy(layer.running_var), 1e-6)
            layer.running_mean.copy_(torch.from_numpy(mean + rng.normal(0, 0.5, mean.shape) * np.sqrt(var)))
            layer.running_var.copy_(torch.from_numpy(var * rng.uniform(0.5, 2, var.shape)))


def _with_statistics(module: nn.Module) -> list[Any]:
    return [m for m in module.modules() if isinstance(getattr(m, "running_var", None), torch.Tensor)]
