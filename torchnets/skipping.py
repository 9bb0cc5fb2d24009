"""Skipping steps whose loss or gradients are not finite."""

from typing import Any

import torch
from torch import nn

from torchnets.losses import Loss
from torchnets.optimizers import Held, Optimizer, Step


def is_finite(metrics: dict[str, Any]) -> bool:
    """Return whether a step's loss and gradients are finite; the norm is if all gradients are."""
    return bool(metrics["loss"].isfinite() & metrics["grad_norm"].isfinite())


def skip_not_finite(step: Step) -> Step:
    """Return `step` that changes nothing where its loss or gradients are not finite, and reports it as `skipped`.

    It waits for the device. The forward pass moves BatchNorm's statistics: they are put back.
    """

    def careful(model: nn.Module, optimizer: Optimizer, batch: Any, *, loss: Loss) -> dict[str, Any]:
        before = [buffer.clone() for buffer in model.buffers()]
        optimizer.zero_grad()
        metrics = step(model, Held(optimizer), batch, loss=loss)
        if is_finite(metrics):
            optimizer.step()
            return metrics
        with torch.no_grad():
            for buffer, old in zip(model.buffers(), before, strict=True):
                buffer.copy_(old)
        return {**metrics, "skipped": True}

    return careful
