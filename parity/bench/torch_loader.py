"""The usual way to feed PyTorch, for comparison: a `torch.utils.data.DataLoader`, an example at a time."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from data import Loader, normalise
from data.base import full_scale
from torchnets.tensors import as_tensor

DATA_LOADER = "DataLoader"  # what the name of such a feed starts with


def feed_name(workers: int) -> str:
    """Return the name of the feed with so many processes."""
    return f"{DATA_LOADER}, {workers} workers"


class Examples(Dataset[tuple[torch.Tensor, int]]):
    """A loader's examples as PyTorch's users write them: normalised tensors (C, ...) with their labels."""

    def __init__(self, loader: Loader):
        self.loader = loader

    @cached_property
    def _unit(self) -> float:
        return full_scale(self.loader.split.inputs.dtype)

    def __len__(self) -> int:
        return len(self.loader.split.labels)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        inputs, labels = self.loader.split
        normalised = normalise(inputs[index : index + 1], self.loader.mean, self.loader.std, self._unit)
        return as_tensor(normalised)[0], int(labels[index])


def batches_of(loader: Loader, name: str, device: torch.device) -> Iterator[Any]:
    """Yield batches on `device`, epoch after epoch, by a DataLoader of the feed's name."""
    workers = int(name.removeprefix(f"{DATA_LOADER}, ").split()[0])
    pinned = device.type == "cuda"
    batches = DataLoader(
        Examples(loader), loader.batch_size, shuffle=True, num_workers=workers, pin_memory=pinned, drop_last=True
    )
    while True:
        for inputs, labels in batches:
            yield inputs.to(device, non_blocking=pinned), labels.to(device, non_blocking=pinned)
