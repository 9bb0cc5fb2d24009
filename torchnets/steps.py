"""The reference: the same steps as `jaxnets.steps`, with the state inside the module and the optimizer."""

from collections.abc import Callable

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from data import Batch

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def trained_params(model: nn.Module) -> list[nn.Parameter]:
    """Return the parameters that are trained; for the frozen ones no gradient and no state is ever made."""
    return [p for p in model.parameters() if p.requires_grad]


def as_tensor(inputs: np.ndarray) -> torch.Tensor:
    """Return inputs (N, ..., C) as (N, C, ...) without a copy: the view is PyTorch's channels_last format."""
    return torch.from_numpy(inputs).movedim(-1, 1)


def as_tensors(batch: Batch, device: torch.device | str = "cpu") -> tuple[torch.Tensor, torch.Tensor]:
    """Return a batch's inputs and labels on `device`."""
    # PyTorch's losses want int64 labels, JAX's default is int32 (trap 26).
    return as_tensor(batch.inputs).to(device), torch.from_numpy(batch.labels).to(device, torch.int64)


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the mean over the batch of softmax cross-entropy; logits (N, classes), labels (N,)."""
    return functional.cross_entropy(logits, labels)


def binary_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the mean over batch and classes (trap 18) of each class against the rest."""
    targets = functional.one_hot(labels, logits.shape[1]).to(logits.dtype)
    return functional.binary_cross_entropy_with_logits(logits, targets)


LOSSES: dict[str, Loss] = {"cross-entropy": cross_entropy, "bce": binary_cross_entropy}


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: tuple[torch.Tensor, torch.Tensor],
    *,
    loss: Loss = cross_entropy,
    l1: float = 0.0,
) -> dict[str, torch.Tensor]:
    """Take one step in place; return the batch's mean `loss` (without L1) and `correct` count."""
    inputs, labels = batch
    model.train()
    logits = model(inputs)
    value = loss(logits, labels)
    penalty = l1 * sum(p.abs().sum() for p in trained_params(model)) if l1 else 0.0
    optimizer.zero_grad()
    (value + penalty).backward()
    optimizer.step()
    return {"loss": value.detach(), "correct": (logits.argmax(dim=1) == labels).sum()}


@torch.no_grad()
def eval_step(model: nn.Module, inputs: torch.Tensor) -> torch.Tensor:
    """Return logits (N, classes) of inputs (N, C, ...), dropout off and BatchNorm by its kept statistics."""
    model.eval()
    return model(inputs)
