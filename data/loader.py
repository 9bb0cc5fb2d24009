"""The one loader that feeds both frameworks: numpy batches, channels last, a pure function of (seed, epoch)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from data.augment import augment, draw, draw_shares, mix
from data.base import Split, full_scale


class Batch(NamedTuple):
    """A batch, ready for the network. JAX takes it as it is, PyTorch as a view (`torchnets.steps.as_tensors`)."""

    inputs: np.ndarray  # (B, H, W, C) or (B, length, C), normalised, float32 unless told otherwise
    labels: np.ndarray  # (B,) int32; under mixup (B, classes) float32, each class's share


@dataclass(frozen=True)
class Loader:
    """Batches of a split, normalised by the dataset's statistics.

    Attributes:
        split: what is read.
        mean, std: (C,), of the scaled inputs, see `Dataset`.
        batch_size: examples a batch; the last one of an epoch holds what is left.
        seed: None reads in order (evaluation); a number shuffles anew each epoch (training).
        augment: what changes the examples, names of `data.augment.AUGMENTATIONS`; only in training.
        mixup: alpha of mixup, 0 for none; only in training.
        classes: how many there are; mixup needs to know.
        dtype: of the inputs that are yielded.
    """

    split: Split
    mean: np.ndarray
    std: np.ndarray
    batch_size: int
    seed: int | None = None
    augment: tuple[str, ...] = ()
    mixup: float = 0.0
    classes: int = 0
    dtype: type[np.floating] = np.float32

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self._bounds()) - 1

    def epoch(self, epoch: int = 0) -> Iterator[Batch]:
        """Yield every image exactly once, in an order that (seed, epoch) alone decides."""
        order, bounds = self.order(epoch), self._bounds()
        change = self._change(epoch)
        for start, end in pairwise(bounds):
            index = order[start:end]
            yield change(Batch(self.split.inputs[index], self.split.labels[index]), index)

    def order(self, epoch: int) -> np.ndarray:
        """Return the epoch's order of the examples, (N,); the same for any batch size and either framework."""
        count = len(self.split.labels)
        if self.seed is None:
            return np.arange(count)
        return np.random.default_rng([self.seed, epoch]).permutation(count)

    def _change(self, epoch: int) -> Callable[[Batch, np.ndarray], Batch]:
        """Return what makes a batch of raw examples, with their indices, one for the network."""
        count, draws, shares = len(self.split.labels), None, None
        if self.seed is not None and self.augment:
            draws = draw(self.augment, count, self.seed, epoch)
        if self.seed is not None and self.mixup:
            shares = draw_shares(self.mixup, count, self.seed, epoch)

        def change(batch: Batch, index: np.ndarray) -> Batch:
            inputs, labels = batch
            if draws is not None:
                inputs = inputs.astype(np.float32) / np.float32(full_scale(inputs.dtype))
                inputs = augment(inputs, draws[index], self.augment, self.mean)
            inputs = normalise(inputs, self.mean, self.std).astype(self.dtype, copy=False)
            if shares is None:
                return Batch(inputs, labels)
            return Batch(*mix(inputs, np.eye(self.classes, dtype=np.float32)[labels], shares[index]))

        return change

    def _bounds(self) -> list[int]:
        count = len(self.split.labels)
        bounds = [*range(0, count, self.batch_size), count]
        # BatchNorm has no variance of one value, so in training a last batch of one image joins the one before.
        if self.seed is not None and self.batch_size > 1 and count % self.batch_size == 1 and count > 1:
            del bounds[-2]
        return bounds


def normalise(inputs: np.ndarray, mean: np.ndarray, std: np.ndarray) -> np.ndarray:
    """Map inputs (..., C) to float32 with the training set's mean 0 and standard deviation 1."""
    scale = (1 / (full_scale(inputs.dtype) * std)).astype(np.float32)
    return inputs.astype(np.float32) * scale - (mean / std).astype(np.float32)


def hold_out(train: Split, share: float = 0.1) -> tuple[Split, Split]:
    """Split off a validation part, always the same one; the test set is never touched for it.

    Returns:
        What is left for training, and the validation split (at least one image).
    """
    order = np.random.default_rng(0).permutation(len(train.labels))
    size = max(1, round(len(order) * share))
    # Sorted: the memory is then read in order, and the loader shuffles anyway.
    rest, held = np.sort(order[size:]), np.sort(order[:size])
    return Split(train.inputs[rest], train.labels[rest]), Split(train.inputs[held], train.labels[held])
