"""Numbers for two draws of one law, which two frameworks may draw in different ways (trap 20).

A mask of what is kept or of what is dropped, a mask or uniform numbers that are compared with a rate, u or 1 - u,
normal numbers of either sign. Neither framework is imported.
"""

from collections.abc import Iterator
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from parity.sides.pairing import ways_between
from parity.sides.random_draws import MASK, NORMAL, UNIFORM, Draw, own_numbers

SAME_RATE = 1e-6
NEAR_RATE = 1e-4  # uniform numbers in a mask's place are this near to its rate: another rate would drop others
LEAST = 1e-6  # and this far from it, which float32 tells
# Of normal numbers: which share is smaller, and back. scipy's are faster, and it is not where a record is compared.
SHARE, QUANTILE = (np.vectorize(of, otypes=[np.float64]) for of in (NormalDist().cdf, NormalDist().inv_cdf))
Pair = tuple[np.ndarray, np.ndarray]  # PyTorch's numbers and JAX's, in the shape of PyTorch's draw


class Shared(NamedTuple):
    """Random numbers for one draw of each side."""

    ours: Draw
    theirs: Draw
    laws: tuple[Pair, ...]  # one for each way in which the draws may be of the same law
    words: str = ""  # what a report should say

    def given(self, law: int, layout: int) -> Pair:
        """Return PyTorch's numbers and JAX's, by the number of a law and of a layout; the last if there are fewer."""
        ours, theirs = self.laws[min(law, len(self.laws) - 1)]
        if theirs.shape == self.theirs.shape and ours.size != theirs.size:
            return ours, theirs  # repeated: accepted by name
        ways = ways_between(self.theirs.shape, self.ours.shape)
        return ours, ways[min(layout, len(ways) - 1)](theirs)

    @property
    def layouts(self) -> int:
        """Return in how many layouts JAX may mean the numbers."""
        return len(ways_between(self.theirs.shape, self.ours.shape)) if self.ours.size == self.theirs.size else 1


def rates_differ(ours: Draw, theirs: Draw) -> bool:
    """Tell whether two masks drop with different rates, whatever is one in them: what is kept or what is dropped."""
    known = ours.kind == theirs.kind == MASK and ours.keep is not None and theirs.keep is not None
    return known and not (_same_rate(ours, theirs) or _opposite_rate(ours, theirs))


def _same_rate(ours: Draw, theirs: Draw) -> bool:
    return ours.keep is not None and theirs.keep is not None and abs(ours.keep - theirs.keep) <= SAME_RATE


def _opposite_rate(ours: Draw, theirs: Draw) -> bool:
    """Tell whether one side may draw what is kept, the other what is dropped."""
    return ours.keep is not None and theirs.keep is not None and abs(ours.keep + theirs.keep - 1) <= SAME_RATE


def laws(ours: Draw, theirs: Draw, drawn: np.random.Generator | np.ndarray) -> Iterator[Pair]:
    """Yield PyTorch's numbers and JAX's, for each way in which they may be of the same law."""
    kinds, live = (ours.kind, theirs.kind), isinstance(drawn, np.random.Generator)
    rng = drawn if isinstance(drawn, np.random.Generator) else np.random.default_rng(20)
    if kinds == (UNIFORM, MASK) and live:
        mask = own_numbers(theirs._replace(shape=ours.shape), rng)
        yield from ((_compared_with(mask, theirs.keep, rng, below=below), mask) for below in (True, False))
        return
    numbers = own_numbers(ours, rng) if isinstance(drawn, np.random.Generator) else np.asarray(drawn, np.float64)
    if kinds == (MASK, MASK):
        if _same_rate(ours, theirs) or not _opposite_rate(ours, theirs):
            yield numbers, numbers
        if _opposite_rate(ours, theirs):
            yield numbers, 1 - numbers
    elif kinds == (UNIFORM, MASK):
        keep = 0.5 if theirs.keep is None else theirs.keep
        yield numbers, (numbers < keep).astype(np.float64)
        yield numbers, (numbers >= 1 - keep).astype(np.float64)
    elif kinds == (MASK, UNIFORM):
        yield from ((numbers, _compared_with(numbers, ours.keep, rng, below=below)) for below in (True, False))
    else:
        uniform = numbers if ours.kind == UNIFORM else SHARE(numbers)
        normal = numbers if ours.kind == NORMAL else QUANTILE(numbers)
        yield numbers, uniform if theirs.kind == UNIFORM else normal
        yield numbers, 1 - uniform if theirs.kind == UNIFORM else -normal


def _compared_with(mask: np.ndarray, keep: float | None, rng: np.random.Generator, *, below: bool) -> np.ndarray:
    """Return uniform numbers that are below a rate, or not below 1 less it, where a mask is one."""
    keep = 0.5 if keep is None else keep
    apart = rng.uniform(0.1, 1, size=mask.shape) * NEAR_RATE * min(keep, 1 - keep)
    numbers = keep + np.where(mask > 0, -1, 1) * np.maximum(apart, LEAST)
    return numbers if below else 1 - numbers


def options(given: Draw, wanted: Draw, numbers: np.ndarray) -> list[np.ndarray]:
    """Return, for the numbers of one draw, what another draw may be given: by each law, in each layout."""
    if given.size != wanted.size:
        return []
    ways = ways_between(wanted.shape, given.shape)
    return [way(other) for _, other in laws(given, wanted, numbers) for way in ways]
