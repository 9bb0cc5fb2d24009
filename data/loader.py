"""The loader of both frameworks: numpy batches, channels last, a pure function of (seed, epoch)."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from data.arrays import as_array, as_split
from data.augment import as_type, augment, columns, draw, draw_shares, leading_moves, like, mix
from data.base import DataError, Split, full_scale
from data.rows import Indexed

WINDOWS, BALANCED = 7, 8  # keys of the generators beside (seed, epoch); `data.augment` uses 5 and 6
# Values processed at a time, 1 MiB as float32, so that all intermediate results stay in the cache.
PIECE = 2**18


class Batch(NamedTuple):
    """A batch, ready for the network. JAX takes it as it is, PyTorch as a view (`torchnets.tensors.as_tensors`)."""

    inputs: np.ndarray  # (B, H, W, C) or (B, length, C), normalised, float32 by default
    labels: np.ndarray  # (B,) int32; with mixup (B, classes) float32, the weight of each class


class RawBatch(NamedTuple):
    """A batch as stored, with its random numbers; `Loader.finish` makes a `Batch` of it."""

    inputs: Any  # (B, ..., C) as in `Split`
    labels: Any  # (B,) int32
    draws: Any  # (B, numbers) float32 for the augmentations; (B, 0) without any
    shares: Any  # (B,) float32 for mixup; (0,) without it


class Rows(NamedTuple):
    """The indices of the examples in a batch, with their random numbers; a `RawBatch` is gathered by them."""

    which: np.ndarray  # (B,) indices
    draws: np.ndarray  # as in `RawBatch`
    shares: np.ndarray


class Drawn(NamedTuple):
    """The random values of an epoch, one row for each example; of balanced classes one for each place in the order."""

    order: np.ndarray  # (N,) the order of the examples
    draws: np.ndarray | None  # (N, numbers) for the augmentations
    shares: np.ndarray | None  # (N,) for mixup
    rows: np.ndarray | None = None  # (N,) the row of the split for each example, if some have several windows


@dataclass(frozen=True)
class Loader:
    """Batches of a split, normalised by the dataset's statistics.

    Attributes:
        split: the examples.
        mean, std: (C,), statistics of the scaled inputs, see `Dataset`.
        batch_size: examples per batch; the last batch of an epoch has the remaining ones.
        seed: None yields the examples in order (evaluation); a number shuffles them in each epoch (training).
        augment: names of augmentations in `data.augment.AUGMENTATIONS`; only in training.
        mixup: alpha of mixup, 0 for none; only in training.
        classes: number of classes, for mixup.
        dtype: dtype of the inputs.
        owners: (M,), in ascending order: the last M rows of the split are further windows of these examples. An
            epoch takes one window of each example at random; only in training.
        balanced: draw the examples of an epoch with replacement, each class with the same probability, as
            PyTorch's `WeightedRandomSampler` with the weights 1 / n_k of classes of n_k examples; only in training.
        shard, shards: yield part `shard` of `shards` equal parts of each batch; the parts in order are the batch. The
            last batch of an epoch is yielded whole by each shard if it does not have `batch_size` examples.
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
    owners: np.ndarray | None = None
    balanced: bool = False

    def __post_init__(self) -> None:
        """Check or convert the arrays, see `data.arrays.as_split`."""
        if self.batch_size < 1:
            raise DataError(f"batch size: expected at least 1, found {self.batch_size}")
        split = self.split
        if getattr(split.inputs, "strides", (1,))[0]:  # not one example that is repeated without memory
            split = as_split("loader", *split, self.classes)
            object.__setattr__(self, "split", split)
        for name in ("mean", "std"):
            values = as_array(name, getattr(self, name))
            if not np.isfinite(values).all() or (name == "std" and not (values > 0).all()):
                raise DataError(f"{name}: expected finite numbers, std above 0; found {str(values.tolist())[:100]}")
            if values.shape not in ((), (1,), split.inputs.shape[-1:]):
                raise DataError(
                    f"{name}: expected one number for each channel {split.inputs.shape[-1:]}, found {values.shape}"
                )
            object.__setattr__(self, name, np.atleast_1d(values))

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self._bounds) - 1

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches of an epoch: the first time those of epoch 0, then of epoch 1, and so on."""
        passes = self.__dict__.setdefault("_passes", itertools.count())
        return self.epoch(next(passes))

    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[Batch]:
        """Yield the batches from `start` on; every example occurs once, in an order set by (seed, epoch) alone."""
        return map(self.finish, self.raw(epoch, start))

    def raw(self, epoch: int = 0, start: int = 0) -> Iterator[RawBatch]:
        """Yield the batches of `epoch` as stored; `finish` does the arithmetic, on a device if needed."""
        drawn = self.draw(epoch)
        for number in range(start, len(self)):
            yield self.take(drawn, number)

    def draw(self, epoch: int) -> Drawn:
        """Draw all random values of an epoch; they depend only on (seed, epoch)."""
        count, draws, shares = self.examples, None, None
        if self.seed is not None and self.augment:
            draws = draw(self.augment, count, self.seed, epoch)
        if self.seed is not None and self.mixup:
            shares = draw_shares(self.mixup, count, self.seed, epoch)
        order = self.order(epoch)
        return Drawn(order, draws, shares, self._draw_windows(epoch, order))

    def _draw_windows(self, epoch: int, order: np.ndarray) -> np.ndarray | None:
        """Draw the row of one window of each example; None if each example has one window only."""
        if self.seed is None or self.owners is None:
            return None
        each = order if self._repeats else np.arange(self.examples)
        more = np.bincount(self.owners, minlength=self.examples)[each]
        chosen = np.random.default_rng([self.seed, epoch, WINDOWS]).integers(0, more + 1)
        firsts = self.examples + np.searchsorted(self.owners, each)
        return np.where(chosen > 0, firsts + chosen - 1, each)

    def take(self, drawn: Drawn, number: int) -> RawBatch:
        """Return one batch of an epoch as stored."""
        rows = self.rows(drawn, number)
        return RawBatch(self._inputs.take(rows.which, axis=0), self.split.labels.take(rows.which), *rows[1:])

    def rows(self, drawn: Drawn, number: int, count: int = 1) -> Rows:
        """Return the indices and random numbers of `count` consecutive batches of an epoch."""
        at = np.arange(self._bounds[number], self._bounds[number + count])
        if self.shards > 1 and drawn.shares is None:
            at = self._part(at)  # with mixup, an example's partner may be in another part
        index = drawn.order[at]
        own = at if self._repeats else index  # an example that is drawn twice is augmented in two ways
        draws = np.empty((len(index), 0), np.float32) if drawn.draws is None else drawn.draws[own]
        shares = np.empty(0, np.float32) if drawn.shares is None else drawn.shares[own]
        return Rows(index if drawn.rows is None else drawn.rows[own], draws, shares)

    def finish(self, raw: RawBatch, xp: Any = np) -> Batch:
        """Augment, normalise and mix a batch; its arrays are those of the library `xp`."""
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
        """Apply `_change` to a few examples at a time, so that intermediate results stay in the cache."""
        out = np.empty(inputs.shape, np.float32)
        step = max(1, PIECE * len(inputs) // max(1, inputs.size))
        for first in range(0, len(inputs), step):
            part = slice(first, first + step)
            self._change(inputs[part], draws[part], np, out[part])
        return out

    def _change(self, inputs: Any, draws: Any, xp: Any, out: np.ndarray | None = None) -> Any:
        """Augment and normalise inputs to float32; numpy arrays are written to `out`."""
        unit = full_scale(self.split.inputs.dtype)
        if draws.shape[1]:
            moves = leading_moves(self.augment)
            moved = augment(
                inputs, draws, self.augment[:moves], None, xp
            )  # bytes take a quarter of the memory of floats
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
        """Return the number of examples in a batch, over all shards."""
        first, end = self._bounds[number : number + 2]
        return end - first

    def indices(self, epoch: int, number: int) -> np.ndarray:
        """Return the indices of the examples in a batch of an epoch, (B,)."""
        first, end = self._bounds[number : number + 2]
        return self.order(epoch)[first:end]

    def order(self, epoch: int) -> np.ndarray:
        """Return the order of the examples in an epoch, (N,); it does not depend on batch size or framework."""
        count = self.examples
        if self.seed is None:
            return np.arange(count)
        if self._repeats:
            labels = self.split.labels[:count]
            counts = np.bincount(labels)
            shares = 1 / counts[labels] / np.count_nonzero(counts)
            return np.random.default_rng([self.seed, epoch, BALANCED]).choice(count, count, p=shares)
        return np.random.default_rng([self.seed, epoch]).permutation(count)

    @property
    def _repeats(self) -> bool:
        """Whether an epoch may have an example twice."""
        return self.balanced and self.seed is not None

    @cached_property
    def examples(self) -> int:
        """Return the number of examples in an epoch."""
        return len(self.split.labels) - (0 if self.owners is None or self.seed is None else len(self.owners))

    @property
    def arrays(self) -> Split:
        """Return the examples as arrays, for a device; those that are rows by an index are copied."""
        return Split(np.asarray(self.split.inputs), self.split.labels)

    @cached_property
    def _inputs(self) -> np.ndarray:
        if isinstance(self.split.inputs, Indexed):
            return self.split.inputs
        return np.ascontiguousarray(self.split.inputs)  # `take` would otherwise copy all of it for each batch

    @cached_property
    def _bounds(self) -> list[int]:
        count = self.examples
        bounds = [*range(0, count, self.batch_size), count]
        # BatchNorm needs two values for a variance: in training, a last batch of one example joins the one before.
        if self.seed is not None and self.batch_size > 1 and count % self.batch_size == 1 and count > 1:
            del bounds[-2]
        return bounds


def normalise(
    inputs: Any, mean: np.ndarray, std: np.ndarray, unit: float, xp: Any = np, out: np.ndarray | None = None
) -> Any:
    """Normalise inputs (..., C), whose full scale is `unit`, to mean 0 and standard deviation 1 over the training set.

    With numpy, the float32 result can be written to `out` (..., C), which may be `inputs` itself.
    """
    scale, offset = (1 / (unit * std)).astype(np.float32), (mean / std).astype(np.float32)
    if xp is not np:
        return as_type(xp, inputs, "float32") * like(xp, scale, inputs) - like(xp, offset, inputs)
    out = np.empty(inputs.shape, np.float32) if out is None else out
    # One row per example with the C numbers repeated along it: numpy would otherwise start a loop at every pixel.
    size = math.prod(inputs.shape[1:])
    if len(scale) > 1:
        scale, offset = (np.tile(numbers, size // len(numbers)) for numbers in (scale, offset))
    rows = out.reshape(len(inputs), size)
    if inputs is not out:
        rows[...] = inputs.reshape(rows.shape)
    rows *= scale
    rows -= offset
    return out
