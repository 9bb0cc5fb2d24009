"""PyTorch's own optimizers, with every default that matters written out."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.optim.lr_scheduler import LambdaLR

from experiment.config import Config
from experiment.loop.schedules import factors
from torchnets.muon import Muon

Optimizer = Any  # a `torch.optim.Optimizer`, or one that is `Held`
Step = Callable[..., dict[str, Any]]  # (model, optimizer, batch, *, loss) -> metrics: `train_step`, and what wraps it


class Held:
    """An optimizer whose gradients are kept and whose update is left to the caller.

    With it a step ends after its backward pass: what is made of the gradients is decided outside.
    """

    def __init__(self, optimizer: Optimizer):
        self.param_groups = optimizer.param_groups

    def zero_grad(self) -> None:
        """Keep the gradients."""

    def step(self) -> None:
        """Keep the parameters."""


def make_optimizer(
    config: Config, steps: int, params: Iterable[torch.nn.Parameter]
) -> tuple[torch.optim.Optimizer, LambdaLR]:
    """Return the update rule for a training of `steps` steps, and its schedule, to be stepped once a batch."""
    table = factors(config.schedule, steps)

    def factor(count: int) -> float:
        return float(table[min(count, steps - 1)])  # LambdaLR looks one step past the end

    lr, decay, momentum = config.lr, config.weight_decay, config.momentum
    groups = decayed(params) if config.decay_weights_only else list(params)
    rules = {
        "sgd": lambda: torch.optim.SGD(groups, lr, weight_decay=decay),
        "momentum": lambda: torch.optim.SGD(groups, lr, momentum, weight_decay=decay),
        "nesterov": lambda: torch.optim.SGD(groups, lr, momentum, weight_decay=decay, nesterov=True),
        "adam": lambda: torch.optim.Adam(groups, lr, weight_decay=decay),
        "adamw": lambda: torch.optim.AdamW(groups, lr, weight_decay=decay),
        "rmsprop": lambda: torch.optim.RMSprop(groups, lr, alpha=0.99, eps=1e-8, weight_decay=decay),
        "muon": lambda: Muon(groups, lr, momentum, decay),
    }
    optimizer = rules[config.optimizer]()
    return optimizer, LambdaLR(optimizer, factor)


def decayed(params: Iterable[torch.nn.Parameter]) -> list[dict[str, Any]]:
    """Return two groups: the weights, and biases and norms (parameters with one axis), which do not decay."""
    params = list(params)
    rest = [p for p in params if p.ndim <= 1]
    return [{"params": [p for p in params if p.ndim > 1]}, {"params": rest, "weight_decay": 0.0}]
