"""The loader's arrays as PyTorch wants them."""

import numpy as np
import torch

from data import Batch


def as_tensor(inputs: np.ndarray) -> torch.Tensor:
    """Return inputs (N, ..., C) as (N, C, ...) without a copy: the view is PyTorch's channels_last format."""
    return torch.from_numpy(inputs).movedim(-1, 1)


def as_tensors(batch: Batch, device: torch.device | str = "cpu") -> tuple[torch.Tensor, torch.Tensor]:
    """Return a batch's inputs and labels on `device`."""
    return as_views(*(torch.from_numpy(part).to(device) for part in batch))


def as_views(inputs: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return inputs (N, ..., C) as (N, C, ...), and labels in the dtype that the losses take."""
    # PyTorch's losses take int64 labels, JAX's default is int32 (trap 26); distributions over classes stay floats.
    return inputs.movedim(-1, 1), labels if labels.ndim == 2 else labels.long()
