"""Skipping steps whose loss, gradients or result are not finite."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn

from torchnets.losses import Loss
from torchnets.optimizers import Optimizer, Step


def is_finite(metrics: dict[str, Any]) -> bool:
    """Return whether a step's loss and gradients are finite; the norm is if all gradients are."""
    return bool(metrics["loss"].isfinite() & metrics["grad_norm"].isfinite())


def all_finite(tensors: Iterable[torch.Tensor]) -> bool:
    """Return whether all numbers of some tensors are finite: NaN passes through both minimum and maximum."""
    some = [tensor for tensor in tensors if tensor.is_floating_point() and tensor.numel()]
    ends = [end for tensor in some for end in torch.aminmax(tensor.detach())]  # eight times as fast as `isfinite`
    return bool(torch.stack(ends).isfinite().all())


def skip_not_finite(step: Step, average: nn.Module | None) -> Step:
    """Return `step` that changes nothing where it is not finite, and reports it as `skipped`.

    Of finite gradients, too, the result may overflow: weights, BatchNorm's statistics, the optimizer's state or the
    average. It waits for the device, and keeps a copy of all of these for as long as the step takes.
    """

    def careful(model: nn.Module, optimizer: Optimizer, batch: Any, *, loss: Loss) -> dict[str, Any]:
        modules = [model, average] if average else [model]
        tensors = [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]
        put_back = _remember(tensors, optimizer)
        metrics = step(model, optimizer, batch, loss=loss)
        if is_finite(metrics) and all_finite([*tensors, *_slots(optimizer)]):
            return metrics
        put_back()
        return {**metrics, "skipped": True}

    return careful


@torch.no_grad()
def _remember(tensors: list[torch.Tensor], optimizer: Optimizer) -> Callable[[], None]:
    """Return what puts the tensors and the optimizer's state back to what they are now."""
    before = [tensor.clone() for tensor in tensors]
    slots = {
        param: {name: slot.clone() if torch.is_tensor(slot) else slot for name, slot in state.items()}
        for param, state in optimizer.state.items()
    }

    @torch.no_grad()
    def put_back() -> None:
        for tensor, old in zip(tensors, before, strict=True):
            tensor.copy_(old)
        optimizer.state.clear()  # before its first step it has none
        optimizer.state.update(slots)

    return put_back


def _slots(optimizer: Optimizer) -> list[torch.Tensor]:
    """Return the optimizer's state without its counts, which PyTorch keeps on the CPU."""
    slots = [slot for state in optimizer.state.values() for slot in state.values()]
    return [slot for slot in slots if torch.is_tensor(slot) and slot.ndim]
