"""Splitting validation examples off the training examples.

Equal examples are in the same part, since a copy of a training example says nothing about new ones, and each class is
split by itself.
"""

import hashlib
from typing import NamedTuple

import numpy as np

from data.arrays import as_split
from data.base import Split, Windows
from data.errors import UserError
from data.rows import Indexed, select


class Plan(NamedTuple):
    """Which examples are held out."""

    share: float = 0.1
    seed: int = 0
    fold: tuple[int, int] | None = None  # part i of k, instead of a share
    permuted: bool = False  # any examples, as version 0.1.0 and the registered datasets do by default


def hold_out(
    train: Split, share: float = 0.1, seed: int = 0, fold: tuple[int, int] | None = None
) -> tuple[Split, Split]:
    """Split the training examples into a training and a validation part; the split is always the same.

    The examples are permuted. If that puts equal examples into both parts or leaves a class without validation
    examples, groups of equal examples are permuted within each class instead.

    Returns:
        The rest for training, and the validation split (at least one example).
    """
    train = as_split("training", *train)
    rest, held = permuted(len(train.labels), share, seed)
    if fold or not _is_sound(train, held):
        rest, held = held_out(train, Plan(share, seed, fold))
    return choose(train, rest), choose(train, held)


def choose(split: Split, rows: np.ndarray) -> Split:
    """Return the examples of an index; their inputs are not copied if they are many, see `data.rows.select`."""
    return Split(select(split.inputs, rows), split.labels[rows])


def held_out(train: Split, plan: Plan, windows: Windows | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of the examples for training and for validation, both in ascending order.

    Args:
        train: all of them.
        plan: which to hold out.
        windows: the further windows of long clips, which are part of their content.

    Raises:
        UserError: one of the parts would be empty.
    """
    if plan.permuted:
        return permuted(len(train.labels), plan.share, plan.seed)
    groups = group_equal(train.inputs, windows)
    held = _by_class(train.labels, groups, plan)
    if not held.any() and not plan.fold:  # all examples of each class are equal
        return permuted(len(train.labels), plan.share, plan.seed)
    if held.all() or not held.any():
        part = f"--fold {plan.fold[0]}/{plan.fold[1]}" if plan.fold else f"--validation-share {plan.share}"
        raise UserError(f"{part}: found {len(train.labels)} training examples, too few different ones to split")
    return np.flatnonzero(~held), np.flatnonzero(held)


def permuted(count: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of a random share and of the rest, whatever the examples are."""
    order = np.random.default_rng(seed).permutation(count)
    size = max(1, round(count * share))
    # Sorted, so that memory is read in order; the loader shuffles the examples anyway.
    return np.sort(order[size:]), np.sort(order[:size])


def digests(inputs: np.ndarray, windows: Windows | None = None) -> list[bytes]:
    """Return a hash of the content of each example, with its further windows if it has some."""
    found = _hashes(inputs)
    if windows is not None:
        for owner, digest in zip(windows.owners.tolist(), _hashes(windows.inputs), strict=True):
            found[owner] = hashlib.sha256(found[owner] + digest).digest()
    return found


def _hashes(inputs: np.ndarray) -> list[bytes]:
    known = inputs.digests() if isinstance(inputs, Indexed) else None
    if known is not None:
        return [one.tobytes() for one in known]
    return [hashlib.sha256(np.ascontiguousarray(example).data).digest() for example in inputs]


def group_equal(inputs: np.ndarray, windows: Windows | None = None) -> np.ndarray:
    """Return a number for each example, (N,): that of the first example with the same content."""
    firsts: dict[bytes, int] = {}
    return np.array([firsts.setdefault(digest, at) for at, digest in enumerate(digests(inputs, windows))], np.int64)


def _is_sound(train: Split, held: np.ndarray) -> bool:
    """Return whether no content is in both parts, and no class of two examples or more lacks validation examples."""
    inside = np.zeros(len(train.labels), bool)
    inside[held] = True
    counts, validation = (
        np.bincount(labels, minlength=train.labels.max() + 1) for labels in (train.labels, train.labels[inside])
    )
    groups = group_equal(train.inputs)
    shared = np.intersect1d(groups[inside], groups[~inside])
    return not len(shared) and not ((counts >= 2) & ((validation == 0) | (validation == counts))).any()


def _by_class(labels: np.ndarray, groups: np.ndarray, plan: Plan) -> np.ndarray:
    """Return which examples are held out, (N,) bool: of each class its part, in whole groups."""
    numbers, sizes = np.unique(groups, return_counts=True)
    classes = labels[numbers]  # a group is of the class of its first example
    rng = np.random.default_rng(plan.seed)
    held: list[np.ndarray] = []
    for label in np.unique(classes):
        own = rng.permutation(np.flatnonzero(classes == label))
        chosen = _fold(sizes[own], *plan.fold) if plan.fold else _share(sizes[own], plan.share)
        held.append(numbers[own[chosen]])
    return np.isin(groups, np.concatenate(held))


def _share(sizes: np.ndarray, share: float) -> np.ndarray:
    """Choose groups of `sizes` examples that come near to a share of all: at least one, and never all."""
    chosen = np.zeros(len(sizes), bool)
    if len(sizes) < 2:
        return chosen
    wanted, taken = max(1, round(sizes.sum() * share)), 0
    for at, size in enumerate(sizes[:-1]):
        if taken + size <= wanted:
            chosen[at], taken = True, taken + size
    if not taken:
        chosen[sizes.argmin()] = True
    return chosen


def _fold(sizes: np.ndarray, number: int, count: int) -> np.ndarray:
    """Choose the groups of fold `number`, from 1, of `count`; each group is in one fold."""
    middles = (np.cumsum(sizes) - sizes / 2) / sizes.sum()
    return np.minimum((middles * count).astype(int), count - 1) == number - 1
