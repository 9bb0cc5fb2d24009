"""What is kept of an array that is too large to be kept: enough to find it again, in any order of its axes.

- its norm and its sum, and a sample of its sorted numbers: the same in any order;
- projections: sums of its numbers, each times a random weight for its place along each axis. An array whose axes are
  in another order has the same projections once the order is undone, and no other array has;
- a sample of its numbers at fixed places, for arrays in the same layout.
"""

import itertools
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from parity.trace.masks import unmasked

SORTED, PLACES, PROJECTIONS = 1024, 1024, 4
MOST_ORDERS = 120  # of axes that are tried
FAR = 8.0  # a projection may be off by so many times what is expected of an array that is `near`


@dataclass(slots=True, eq=False)
class Fingerprint:
    """What is kept of an array."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    norm: float  # without what a mask has put out of the way
    total: float
    sorted: np.ndarray  # so many of its sorted numbers
    places: np.ndarray  # its numbers at fixed places
    projections: np.ndarray

    @property
    def size(self) -> int:
        """Return how many numbers the array has."""
        return int(np.prod(self.shape, dtype=int))

    @property
    def ndim(self) -> int:
        """Return how many axes the array has."""
        return len(self.shape)

    def holds(self, flat: np.ndarray) -> np.ndarray:
        """Return those of another array's sorted numbers that stand where the sample was taken."""
        return flat[_spread(flat.size)]

    def fits(self, found: np.ndarray, near: float) -> bool:
        """Tell whether an array of this shape holds the same numbers in the same places."""
        apart = np.abs(projected(found) - self.projections)
        return bool((apart <= FAR * near * self.norm + 1e-300).all())

    def fits_in_any_order(self, found: np.ndarray, near: float) -> bool:
        """Tell whether an array is the same up to an order of its axes and its shape."""
        if found.size != self.size:
            return False
        sides = [side for side in self.shape if side > 1]
        for order in itertools.islice(itertools.permutations(range(len(sides))), MOST_ORDERS):
            turned = found.reshape([sides[axis] for axis in order]).transpose(np.argsort(order))
            if self.fits(turned, near):
                return True
        sides = [side for side in found.shape if side > 1]
        squeezed = found.reshape(sides)
        for order in itertools.islice(itertools.permutations(range(len(sides))), 1, MOST_ORDERS):
            if self.fits(squeezed.transpose(order).reshape(self.shape), near):
                return True
        return False

    def numbers(self) -> np.ndarray:
        """Return what an array in the same layout is compared by: all of its numbers take part."""
        return np.concatenate([self.places, self.projections])

    def numbers_of(self, found: np.ndarray) -> np.ndarray:
        """Return the same of another array of this shape."""
        if found.shape != self.shape:
            return np.full(PLACES + PROJECTIONS, np.nan)
        return np.concatenate([found.ravel()[_places(found.size)], projected(found, masks=False)])


def fingerprint(array: np.ndarray) -> Fingerprint:
    """Return the fingerprint of an array that is looked for, in any order."""
    flat = np.asarray(array, np.float64).ravel()
    kept = flat[unmasked(flat)]
    return Fingerprint(
        array.shape,
        array.dtype,
        float(np.linalg.norm(kept)),
        float(kept.sum()),
        np.sort(flat)[_spread(flat.size)],
        flat[_places(flat.size)],
        projected(array),
    )


def fingerprint_in_place(array: np.ndarray) -> Fingerprint:
    """Return the fingerprint of an array that is compared in the layout that it has, such as a gradient."""
    flat = np.asarray(array, np.float64).ravel()
    norm, places = float(np.linalg.norm(flat)), flat[_places(flat.size)]
    return Fingerprint(array.shape, array.dtype, norm, 0.0, np.zeros(SORTED), places, projected(array, masks=False))


def nothing_of(array: np.ndarray) -> Fingerprint:
    """Return what is kept of an array that nothing looks for and nothing compares: shape and dtype."""
    return Fingerprint(array.shape, array.dtype, 0.0, 0.0, np.zeros(SORTED), np.zeros(PLACES), np.zeros(PROJECTIONS))


def comparable(reference: np.ndarray | Fingerprint, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what two arrays in the same layout are compared by."""
    if isinstance(reference, Fingerprint):
        return reference.numbers(), reference.numbers_of(found)
    return reference, found


def sized(array: np.ndarray | Fingerprint) -> np.ndarray:
    """Return an array of the same norm."""
    return np.array([array.norm]) if isinstance(array, Fingerprint) else array


def projected(array: np.ndarray, *, masks: bool = True) -> np.ndarray:
    """Return the projections of an array; axes of length 1 do not count, nor do numbers of a mask."""
    result = np.asarray(array, np.float64)
    if masks and not (kept := unmasked(result)).all():
        result = np.where(kept, result, 0)
    sides = tuple(side for side in array.shape if side > 1)
    result = result.reshape(sides)
    if not sides:
        return np.full(PROJECTIONS, float(result))
    # (PROJECTIONS, the other axes); without BLAS, whose threads wait for each other where a core is busy
    result = np.einsum("pa,ab->pb", _weights(0, sides[0]), result.reshape(sides[0], -1))
    result = result.reshape(PROJECTIONS, *sides[1:])
    for axis, side in enumerate(sides[1:], 1):
        result = np.einsum("pa...,pa->p...", result, _weights(axis, side))
    return result


@lru_cache(maxsize=256)
def _weights(axis: int, side: int) -> np.ndarray:
    return np.random.default_rng([axis, side, 26]).normal(size=(PROJECTIONS, side))


@lru_cache(maxsize=256)
def _spread(size: int) -> np.ndarray:
    return np.linspace(0, size - 1, SORTED).astype(int)


@lru_cache(maxsize=256)
def _places(size: int) -> np.ndarray:
    return np.sort(np.random.default_rng([size, 26]).integers(0, size, PLACES))
