"""Finding a value among many, whatever its layout and shape: by its sorted numbers."""

import itertools
import math
from collections.abc import Iterator

import numpy as np

from parity.trace.fingerprint import Fingerprint
from parity.trace.masks import LEAST, unmasked

MOST_ORDERS = 120  # of axes that are tried
MOST_NUMBERS = 5 * 10**7  # among which single numbers are looked for


class Index:
    """Arrays by number; `find` returns those that hold the same numbers in any order."""

    def __init__(self) -> None:
        self._sorted: dict[int, np.ndarray | Fingerprint] = {}
        self._sizes: dict[int, list[tuple[int, float, float]]] = {}  # by size: number, norm, sum

        self._by_size: dict[int, tuple[np.ndarray, np.ndarray, np.ndarray]] = {}
        self._least: float = np.inf  # size of the smallest array of which the fingerprint alone is known
        self._all: np.ndarray | None = None  # every number of every array, sorted, and infinity

    def add(self, number: int, array: np.ndarray | Fingerprint) -> None:
        """Add an array, or the fingerprint of one, under a number."""
        if isinstance(array, Fingerprint):
            self._sorted[number], moments = array, (array.norm, array.total)
            self._least = min(self._least, array.size)
        else:
            flat = np.sort(np.asarray(array, np.float64), axis=None)
            self._sorted[number], moments = flat, _moments(flat)
        self._all = None
        self._sizes.setdefault(array.size, []).append((number, *moments))

    def __len__(self) -> int:
        return len(self._sorted)

    def find(self, array: np.ndarray, near: float) -> list[int]:
        """Return the numbers of the arrays that are within `near`, relative, in the order in which they were added."""
        known = self._sizes.get(np.size(array))
        if known is None:
            return []
        flat = np.asarray(array, np.float64).ravel()
        norm, total = _moments(flat)
        slack = 4 * near * (norm + 1e-300)
        numbers, norms, totals = self._columns(flat.size, known)
        fits = (np.abs(norms - norm) <= slack) & (np.abs(totals - total) <= slack * np.sqrt(max(flat.size, 1)))
        if not fits.any():
            return []
        flat = np.sort(flat)
        return [number for number in numbers[fits].tolist() if _agrees(self._sorted[number], flat, near)]

    def holds(self, array: np.ndarray, near: float, places: np.ndarray | None = None) -> np.ndarray:
        """Tell of each number whether it can belong to a part of this array that is among the arrays.

        A part that is found within `near` has each of its numbers there, so far off at most. Beside numbers that may
        be a mask's, all are possible. `places`: tell of the numbers there alone, counted through the whole array.
        """
        flat = np.asarray(array, np.float64).ravel()
        asked = flat if places is None else flat[places]
        if flat.size >= self._least:
            return np.ones(asked.size, bool)
        if self._all is None:
            known = [array for array in self._sorted.values() if isinstance(array, np.ndarray)]
            self._all = np.append(np.sort(np.concatenate([np.zeros(0), *known])), np.inf)
        if not np.abs(flat).max(initial=0) < LEAST or self._all.size > MOST_NUMBERS:
            return np.ones(asked.size, bool)
        slack = 2 * near * _norm(flat) + 1e-14
        order = np.argsort(asked)  # numbers in order are found in a large array several times faster
        ordered, held = asked[order], np.empty(asked.size, bool)
        held[order] = self._all[np.searchsorted(self._all, ordered - slack)] <= ordered + slack
        return held

    def _columns(self, size: int, known: list[tuple[int, float, float]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return numbers, norms and sums of the arrays of a size."""
        columns = self._by_size.get(size)
        if columns is None or len(columns[0]) != len(known):
            numbers, norms, totals = zip(*known, strict=True)
            columns = self._by_size[size] = np.array(numbers), np.array(norms), np.array(totals)
        return columns

    def of_size(self, size: int) -> list[int]:
        """Return the numbers of all arrays of a size."""
        return [number for number, *_ in self._sizes.get(size, ())]


def _agrees(known: np.ndarray | Fingerprint, flat: np.ndarray, near: float) -> bool:
    if isinstance(known, Fingerprint):
        return close(known.sorted, known.holds(flat), near)
    return close(known, flat, near)


def close(reference: np.ndarray, found: np.ndarray, near: float) -> bool:
    """Tell whether two arrays of one shape agree, relative to the first.

    What a mask has put out of the way, be it -1e4 or -inf, must be in the same places, whatever it is: beside such
    numbers everything else would agree.
    """
    if not (_is_small(reference) and _is_small(found)):
        kept = unmasked(reference)
        if not np.array_equal(kept, unmasked(found)):
            return False
        reference, found = reference[kept], found[kept]
    size = _norm(reference)
    return bool(_norm(found - reference) <= near * size + (1e-300 if size else 1e-15))


def arranged(reference: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Return the numbers of `reference` in the places of the nearest ones of `found`."""
    result = np.empty(found.size, np.float64)
    result[np.argsort(found, axis=None, kind="stable")] = np.sort(np.asarray(reference, np.float64), axis=None)
    return result.reshape(found.shape)


def layouts(reference: np.ndarray, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    """Yield an array in every order of its axes, in another shape; the usual orders first."""
    return (_in_order(reference, order, shape) for order in _orders(reference))


def _orders(array: np.ndarray) -> Iterator[tuple[int, ...]]:
    """Yield the orders of the axes that are longer than 1; none of them is the order that it has."""
    axes = [axis for axis, size in enumerate(array.shape) if size > 1]
    yield ()
    yield from itertools.islice(itertools.permutations(axes), 1, MOST_ORDERS)


def _in_order(array: np.ndarray, order: tuple[int, ...], shape: tuple[int, ...]) -> np.ndarray:
    if order:
        array = array.transpose(*(axis for axis, size in enumerate(array.shape) if size == 1), *order)
    return array.reshape(shape)


def laid_out(reference: np.ndarray | Fingerprint, found: np.ndarray, near: float) -> np.ndarray | None:
    """Return the reference in `found`'s layout if they are equal up to an order of axes and a shape, else None.

    The numbers of a fingerprint are not known: `found` itself is returned.
    """
    if isinstance(reference, Fingerprint):
        return found if reference.fits_in_any_order(found, near) else None
    reference = np.asarray(reference, np.float64)
    for candidate in layouts(reference, found.shape):
        if close(candidate, found, near):
            return candidate
    flat = reference.reshape(-1)
    axes = [size for size in found.shape if size > 1]
    squeezed = np.asarray(found, np.float64).reshape(axes)
    for order in itertools.islice(itertools.permutations(range(squeezed.ndim)), 1, MOST_ORDERS):
        if close(flat, squeezed.transpose(order).reshape(-1), near):
            back = np.argsort(order)
            return flat.reshape([axes[axis] for axis in order]).transpose(back).reshape(found.shape)
    return None


def nearest_layout(reference: np.ndarray, found: np.ndarray) -> tuple[float, np.ndarray]:
    """Return how well, at best, an order of axes of `reference` correlates with `found`, and it in that order."""
    best, chosen = -2.0, ()
    target, ours = centred(found).ravel(), centred(reference)
    for order in _likely_orders(reference, found.shape):
        score = float(_in_order(ours, order, target.shape) @ target)
        if score > best + 1e-9:
            best, chosen = score, order
    return best, _in_order(reference, chosen, found.shape)


def _likely_orders(array: np.ndarray, shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return those orders of the axes that give a shape; all of them if none does, as the axes are joined or cut."""
    orders, wanted = list(_orders(array)), [size for size in shape if size > 1]
    fits = [order for order in orders if [array.shape[axis] for axis in order] == wanted]
    own = [size for size in array.shape if size > 1] == wanted
    return [(), *fits] if fits or own else orders


def centred(array: np.ndarray) -> np.ndarray:
    """Return an array less its mean, of length 1, without a mask's numbers."""
    array = np.asarray(array, np.float64)
    array = np.where(unmasked(array), array, 0)
    array = array - array.mean()
    size = np.linalg.norm(array)
    return array / size if size else array


def _moments(flat: np.ndarray) -> tuple[float, float]:
    if _is_small(flat):
        return _norm(flat), float(flat.sum())
    kept = flat[unmasked(flat)]
    return _norm(kept), float(kept.sum())


def _is_small(array: np.ndarray) -> bool:
    """Tell whether no number can be a mask's."""
    return bool(array.size and array.dtype.kind != "c" and array.max() < LEAST and array.min() > -LEAST)


def _norm(array: np.ndarray) -> float:
    """Return the L2 norm, without BLAS: its threads wait for each other, for milliseconds where a core is busy."""
    if array.dtype.kind == "c":
        return float(np.linalg.norm(array))
    flat = np.asarray(array, np.float64).ravel(order="K")
    return math.sqrt(np.einsum("i,i->", flat, flat))
