"""The lesson: the same step as `jaxnets.step`, its state in the module and the optimizer. Options are in `compose`."""

from typing import Any

import torch
from torch import nn
from torch.func import functional_call

from torchnets.losses import Loss, count_correct, cross_entropy

Variables = dict[str, torch.Tensor]  # a state_dict


def train_step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: tuple[torch.Tensor, torch.Tensor],
    loss: Loss = cross_entropy,
) -> dict[str, Any]:
    """Take one step in place; return the batch's mean `loss`, `correct` count and `grad_norm`."""
    inputs, labels = batch
    model.train()  # dropout draws from the global generator, whose state is part of the training's (trap 31)
    optimizer.zero_grad()

    logits = model(inputs)
    value = loss(logits, labels)
    metrics = {"loss": value.detach(), "correct": count_correct(logits, labels)}

    value.backward()
    params = [p for group in optimizer.param_groups for p in group["params"]]  # faster than model.parameters()
    grad_norm = nn.utils.get_total_norm([p.grad for p in params if p.grad is not None])
    optimizer.step()
    return {**metrics, "grad_norm": grad_norm}


@torch.no_grad()
def eval_step(model: nn.Module, variables: Variables, inputs: torch.Tensor) -> torch.Tensor:
    """Return logits (N, classes) of inputs (N, C, ...): no dropout, BatchNorm uses its running statistics.

    `variables` replace the module's own: a training may evaluate the average of its weights and go on from others.
    """
    model.eval()
    return functional_call(model, variables, (inputs,))
