"""The one loader that feeds both frameworks: numpy batches, channels last, a pure function of (seed, epoch)."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from data.augment import as_type, augment, columns, draw, draw_shares, leading_moves, like, mix
from data.base import Split, full_scale

# Numbers that go through all the arithmetic before the next ones: as float32 1 MiB, so that they stay in the cache.
PIECE = 2**18


class Batch(NamedTuple):
    """A batch, ready for the network. JAX takes it as it is, PyTorch as a view (`torchnets.tensors.as_tensors`)."""

    inputs: np.ndarray  # (B, H, W, C) or (B, length, C), normalised, float32 unless told otherwise
    labels: np.ndarray  # (B,) int32; under mixup (B, classes) float32, each class's share


class RawBatch(NamedTuple):
    """A batch as it is stored, and the random numbers that are its own: what `Loader.finish` makes a `Batch` of."""

    inputs: Any  # (B, ..., C) as in `Split`
    labels: Any  # (B,) int32
    draws: Any  # (B, numbers) float32 for the augmentations, none if there are none
    shares: Any  # (B,) float32 for mixup, (0,) if there is none


class Rows(NamedTuple):
    """Which examples are in a batch, and the random numbers that are their own: what a `RawBatch` is gathered by."""

    which: np.ndarray  # (B,) indices
    draws: np.ndarray  # as in `RawBatch`
    shares: np.ndarray


class Drawn(NamedTuple):
    """All that is random in an epoch, a row for each example."""

    order: np.ndarray  # (N,) the examples, as they come
    draws: np.ndarray | None  # (N, numbers) for the augmentations
    shares: np.ndarray | None  # (N,) for mixup


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
        shard, shards: yield one of so many parts of each batch; all of them, in order, are the batch. Of the last one
            of an epoch, if it is not of `batch_size`, each yields the whole: no parts of it would be equal.
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
    shard: int = 0
    shards: int = 1

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self._bounds) - 1

    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[Batch]:
        """Yield every image exactly once, in an order that (seed, epoch) alone decides; from batch `start` on."""
        return map(self.finish, self.raw(epoch, start))

    def raw(self, epoch: int = 0, start: int = 0) -> Iterator[RawBatch]:
        """Yield the batches of `epoch` before any arithmetic: `finish` does that, on a device if need be."""
        drawn = self.draw(epoch)
        for number in range(start, len(self)):
            yield self.take(drawn, number)

    def draw(self, epoch: int) -> Drawn:
        """Return all that is random in an epoch: what (seed, epoch) alone decides."""
        count, draws, shares = len(self.split.labels), None, None
        if self.seed is not None and self.augment:
            draws = draw(self.augment, count, self.seed, epoch)
        if self.seed is not None and self.mixup:
            shares = draw_shares(self.mixup, count, self.seed, epoch)
        return Drawn(self.order(epoch), draws, shares)

    def take(self, drawn: Drawn, number: int) -> RawBatch:
        """Return one batch of an epoch before any arithmetic."""
        rows = self.rows(drawn, number)
        return RawBatch(self._inputs.take(rows.which, axis=0), self.split.labels.take(rows.which), *rows[1:])

    def rows(self, drawn: Drawn, number: int, count: int = 1) -> Rows:
        """Return which examples are in a batch of an epoch; or in so many, one after the other."""
        index = drawn.order[self._bounds[number] : self._bounds[number + count]]
        if self.shards > 1 and drawn.shares is None:
            index = self._part(index)  # else an example's partner in mixup may lie in another part
        draws = np.empty((len(index), 0), np.float32) if drawn.draws is None else drawn.draws[index]
        shares = np.empty(0, np.float32) if drawn.shares is None else drawn.shares[index]
        return Rows(index, draws, shares)

    def finish(self, raw: RawBatch, xp: Any = np) -> Batch:
        """Return the batch for the network, augmented, normalised and mixed; the arrays may be of any library `xp`."""
        inputs, labels, draws, shares = raw
        if xp is np:
            inputs = self._in_pieces(inputs, draws).astype(self.dtype, copy=False)
        else:
            inputs = as_type(xp, self._change(inputs, draws, xp), np.dtype(self.dtype).name)
        if not len(shares):
            return Batch(inputs, labels)
        targets = like(xp, np.eye(self.classes, dtype=np.float32), inputs)[labels]
        return Batch(*(self._part(part) for part in mix(inputs, targets, shares, xp)))

    def _in_pieces(self, inputs: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """Return what `_change` does, a few examples at a time: what is between in and out never leaves the cache."""
        out = np.empty(inputs.shape, np.float32)
        step = max(1, PIECE * len(inputs) // max(1, inputs.size))
        for first in range(0, len(inputs), step):
            part = slice(first, first + step)
            self._change(inputs[part], draws[part], np, out[part])
        return out

    def _change(self, inputs: Any, draws: Any, xp: Any, out: np.ndarray | None = None) -> Any:
        """Return inputs augmented and normalised, float32; of numpy's, in `out`."""
        unit = full_scale(self.split.inputs.dtype)
        if draws.shape[1]:
            moves = leading_moves(self.augment)
            moved = augment(inputs, draws, self.augment[:moves], None, xp)  # bytes are a quarter of what floats are
            if out is None:
                inputs = as_type(xp, moved, "float32") / np.float32(unit)
            else:
                out[...] = moved
                inputs = np.divide(out, np.float32(unit), out=out)
            draws = draws[:, columns(self.augment[:moves]) :]
            inputs = augment(inputs, draws, self.augment[moves:], like(xp, self.mean, inputs), xp)
            unit = 1.0
        return normalise(inputs, self.mean, self.std, unit, xp, out)

    def _part(self, whole: Any) -> Any:
        """Return this shard's part of a batch."""
        if len(whole) != self.batch_size:
            return whole
        ends = [len(whole) * at // self.shards for at in (self.shard, self.shard + 1)]
        return whole[ends[0] : ends[1]]

    def size(self, number: int) -> int:
        """Return how many examples a batch has, in all shards together."""
        first, end = self._bounds[number : number + 2]
        return end - first

    def indices(self, epoch: int, number: int) -> np.ndarray:
        """Return which examples are in a batch of an epoch, (B,)."""
        first, end = self._bounds[number : number + 2]
        return self.order(epoch)[first:end]

    def order(self, epoch: int) -> np.ndarray:
        """Return the epoch's order of the examples, (N,); the same for any batch size and either framework."""
        count = len(self.split.labels)
        if self.seed is None:
            return np.arange(count)
        return np.random.default_rng([self.seed, epoch]).permutation(count)

    @cached_property
    def _inputs(self) -> np.ndarray:
        return np.ascontiguousarray(self.split.inputs)  # else `take` would make it so, all of it, for each batch

    @cached_property
    def _bounds(self) -> list[int]:
        count = len(self.split.labels)
        bounds = [*range(0, count, self.batch_size), count]
        # BatchNorm has no variance of one value, so in training a last batch of one image joins the one before.
        if self.seed is not None and self.batch_size > 1 and count % self.batch_size == 1 and count > 1:
            del bounds[-2]
        return bounds


def normalise(
    inputs: Any, mean: np.ndarray, std: np.ndarray, unit: float, xp: Any = np, out: np.ndarray | None = None
) -> Any:
    """Map inputs (..., C), `unit` the largest of them, to float32 with the training set's mean 0 and deviation 1.

    Numpy alone can be given `out` (..., C) float32, where the result is then put; it may be `inputs` itself.
    """
    scale, offset = (1 / (unit * std)).astype(np.float32), (mean / std).astype(np.float32)
    if xp is not np:
        return as_type(xp, inputs, "float32") * like(xp, scale, inputs) - like(xp, offset, inputs)
    out = np.empty(inputs.shape, np.float32) if out is None else out
    # Each example as one row, and the C numbers repeated along it: numpy would else begin a new loop at every pixel.
    size = math.prod(inputs.shape[1:])
    if len(scale) > 1:
        scale, offset = (np.tile(numbers, size // len(numbers)) for numbers in (scale, offset))
    rows = out.reshape(len(inputs), size)
    if inputs is not out:
        rows[...] = inputs.reshape(rows.shape)
    rows *= scale
    rows -= offset
    return out


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
