"""A moving average of weights and statistics, to evaluate and save in place of the latest."""

from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from torchnets.losses import Loss
from torchnets.optimizers import Optimizer, Step


def make_average(model: nn.Module, decay: float) -> AveragedModel:
    """Return the moving average; after the first step it is that step's variables. Counters are the latest."""
    mix = get_ema_multi_avg_fn(decay)

    @torch.no_grad()
    def update(average: Any, new: Any, count: Any) -> None:
        if average[0].is_floating_point():
            mix(average, new, count)
        else:
            for old, latest in zip(average, new, strict=True):
                old.copy_(latest)

    return AveragedModel(model, multi_avg_fn=update, use_buffers=True)


def with_average(step: Step, average: AveragedModel) -> Step:
    """Return `step` that also updates the moving average."""

    def averaged_step(model: nn.Module, optimizer: Optimizer, batch: Any, *, loss: Loss) -> dict[str, Any]:
        metrics = step(model, optimizer, batch, loss=loss)
        average.update_parameters(model)
        return metrics

    return averaged_step
