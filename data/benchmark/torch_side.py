"""PyTorch's side: its DataLoader, by default settings, over a Dataset; torchvision's transforms for each example."""

import multiprocessing
from collections.abc import Callable, Iterator
from multiprocessing.context import BaseContext
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from data.base import Dataset as Arrays
from data.benchmark.contenders import SEED, Contender

WORKERS = (0, 2)


class Examples(Dataset):
    """Arrays as a Dataset: one example at a time, as numpy gives it or transformed."""

    def __init__(self, inputs: np.ndarray, labels: np.ndarray, transform: Callable[[Any], Any] | None):
        self.inputs, self.labels, self.transform = inputs, labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        example = self.inputs[index]
        return (self.transform(example) if self.transform else example), self.labels[index]


def contenders(task: str, dataset: Arrays, batch_size: int) -> list[Contender]:
    """Return a DataLoader in this process, and one with two workers that stay from epoch to epoch."""
    examples = Examples(*dataset.train, None if task == "raw" else _transform(task, dataset))
    name = "DataLoader" if task == "raw" else "torchvision"
    found = []
    for workers in WORKERS:
        loader = DataLoader(
            examples,
            batch_size,
            shuffle=True,
            num_workers=workers,
            persistent_workers=workers > 0,
            multiprocessing_context=_context() if workers else None,
            generator=torch.Generator().manual_seed(SEED),
        )
        found.append(Contender(f"{name}, {workers} workers", lambda _, loader=loader: _views(loader, task)))
    return found


def _context() -> BaseContext:
    """Return how workers begin: not as forks of this process, whose other contenders have threads."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["data.benchmark.torch_side", "data.benchmark.__main__"])
    return context


def _views(loader: DataLoader, task: str) -> Iterator[tuple[Any, Any]]:
    for inputs, labels in loader:
        yield inputs if task == "raw" else inputs.permute(0, 2, 3, 1), labels  # (B, H, W, C), a view


def _transform(task: str, dataset: Arrays) -> Callable[[Any], Any]:
    """Return the usual transforms, a tensor first: as PIL images they took half as long again."""
    height, width, _ = dataset.train.inputs.shape[1:]
    changes = {
        "flip,crop": [
            transforms.RandomCrop((height, width), padding=(width // 8, height // 8)),
            transforms.RandomHorizontalFlip(),
        ],
        "affine": [
            transforms.RandomAffine(
                10, (1 / 16, 1 / 16), (0.9, 1.1), interpolation=transforms.InterpolationMode.BILINEAR
            )
        ],
    }[task]
    mean, std = dataset.mean.tolist(), dataset.std.tolist()
    return transforms.Compose([transforms.ToTensor(), *changes, transforms.Normalize(mean, std)])
