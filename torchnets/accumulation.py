"""A batch taken in pieces, one after another, to save memory."""

from collections.abc import Callable
from functools import reduce
from operator import add
from typing import Any

import torch
from torch import nn

from torchnets.losses import Loss
from torchnets.optimizers import Held, Optimizer, Step


def split_batch(batch: tuple[torch.Tensor, torch.Tensor], pieces: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Return a batch in at most `pieces` pieces of at least two examples: BatchNorm has no variance of one."""
    pieces = max(1, min(pieces, len(batch[0]) // 2))
    return list(zip(*(part.tensor_split(pieces) for part in batch), strict=True))


def in_pieces(step: Step, pieces: int, measure: Callable[[Any], Any] = len) -> Step:
    """Return `step` with the gradients of the mean over a batch, added up over its pieces.

    A piece counts by the `measure` of its labels, by default its size. BatchNorm normalises each piece by its own
    statistics, and its running statistics pass through all pieces.
    """

    def whole(model: nn.Module, optimizer: Optimizer, batch: Any, *, loss: Loss) -> dict[str, Any]:
        optimizer.zero_grad()
        found: list[dict[str, Any]] = []
        for inputs, labels in split_batch(batch, pieces):
            share = measure(labels) / measure(batch[1])

            def scaled(logits: torch.Tensor, labels: torch.Tensor, share: Any = share) -> torch.Tensor:
                return loss(logits, labels) * share

            found.append(step(model, Held(optimizer), (inputs, labels), loss=scaled))
        optimizer.step()
        totals = {name: reduce(add, [metrics[name] for metrics in found]) for name in ("loss", "correct")}
        return {**totals, "grad_norm": found[-1]["grad_norm"]}  # gradients add up: the last norm is that of their sum

    return whole
