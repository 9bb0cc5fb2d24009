"""What `torch.amp.GradScaler` does, in float64: its own operations insist on float32."""

from typing import Any

import torch


def _unscale(gradients: Any, found: torch.Tensor, inverse: torch.Tensor) -> None:
    """Do what `GradScaler` does, which insists on float32."""
    for gradient in gradients:
        found.fill_(max(float(found), float(not gradient.isfinite().all())))
        gradient.mul_(inverse)


def _update_scale(scale: Any, tracker: Any, found: Any, growth: float, backoff: float, interval: int) -> Any:
    if found:
        scale.mul_(backoff)
        return tracker.zero_() and scale
    tracker.add_(1)
    if int(tracker) == interval:
        scale.mul_(growth)
        tracker.zero_()
    return scale


SCALING = {"_amp_foreach_non_finite_check_and_unscale_": _unscale, "_amp_update_scale_": _update_scale}
