"""What happens to gradients before the update rule: L1, clipping, frozen parameters."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from torchnets.losses import Loss


def with_l1(loss: Loss, params: Sequence[nn.Parameter], weight: float) -> Loss:
    """Return a loss of the same value, with the gradient of `weight` times the sum of the absolute values added.

    It acts in the backward pass, so that `grad_norm` includes it; the reported loss does not.
    """

    def penalised(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        penalty: Any = weight * sum(p.abs().sum() for p in params)
        return loss(logits, labels) + (penalty - penalty.detach())

    return penalised


def clip_by_norm(optimizer: torch.optim.Optimizer, limit: float) -> None:
    """Scale the gradients so that their global norm is at most `limit`: Pascanu et al. 2013, arXiv 1211.5063.

    A hook does it at the start of each `optimizer.step()`.
    """

    def clip(optimizer: torch.optim.Optimizer, _args: Any, _kwargs: Any) -> None:
        nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], limit)

    optimizer.register_step_pre_hook(clip)


def trained_params(model: nn.Module) -> list[nn.Parameter]:
    """Return the trained parameters; the frozen ones have no gradient and no state."""
    return [p for p in model.parameters() if p.requires_grad]
