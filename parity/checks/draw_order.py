"""Random numbers that a pass draws for nothing, or in another order than the other side.

A layer that is left out with probability 0 is drawn for, too.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from parity.sides.random_draws import MASK, OTHER, UNIFORM, Draw, own_numbers

Outputs = Mapping[str, np.ndarray]
MOST = 100  # draws that are tried


class Given:
    """A side in training mode that is given numbers for some of its draws, in another order."""

    def __init__(self, side: Any, places: Sequence[int], rest: Mapping[int, np.ndarray]):
        self._side, self._places, self._rest = side, places, rest

    def __getattr__(self, name: str) -> Any:
        """Return what the side has, its methods given numbers for all draws."""
        found = getattr(self._side, name)
        if name not in ("outputs", "passed", "float32_errors", "gradients"):
            return found
        return lambda numbers, *args, **kwargs: found(self._all(numbers), *args, **kwargs)

    def of(self, module: Any) -> "Given":
        """Return the same passes of another module."""
        return Given(self._side.of(module), self._places, self._rest)

    def _all(self, numbers: Sequence[np.ndarray]) -> list[np.ndarray]:
        every = {**self._rest, **dict(zip(self._places, numbers, strict=True))}
        return [every[place] for place in sorted(every)]


def in_order(ours: Sequence[Draw], theirs: Sequence[Draw]) -> list[int]:
    """Return which of JAX's draws each of PyTorch's is, where they are the same in another order; else as they are."""
    left, found = list(range(len(theirs))), list[int]()
    for mine in ours:
        place = next((i for i in left if _asked(theirs[i]) == _asked(mine)), None)
        if place is None:
            return list(range(len(theirs)))
        left.remove(place)
        found.append(place)
    return found if not left else list(range(len(theirs)))


def _asked(draw: Draw) -> tuple[str, int, float | None]:
    return draw.kind, draw.size, draw.keep


def idle(draws: Sequence[Draw], run: Callable[[list[np.ndarray]], Outputs]) -> dict[int, np.ndarray]:
    """Return numbers for the draws on which no output depends, by the number of the draw; masks are not tried.

    Args:
        draws: of a pass.
        run: the pass, by the numbers that it is given.
    """
    asked = [i for i, draw in enumerate(draws) if draw.kind != MASK]
    if not asked or len(asked) > MOST or any(draw.kind == OTHER for draw in draws):
        return {}
    numbers = [own_numbers(draw, np.random.default_rng([22, i])) for i, draw in enumerate(draws)]
    before, found = _of(run, numbers), dict[int, np.ndarray]()
    for i in asked:
        ends = (0.0, 1 - 1e-9) if draws[i].kind == UNIFORM else (-9.0, 9.0)
        others = ([*numbers[:i], np.full(draws[i].shape, end), *numbers[i + 1 :]] for end in ends)
        if before is not None and all(_same(before, _of(run, given)) for given in others):
            found[i] = numbers[i]
    return found


def _of(run: Callable[[list[np.ndarray]], Outputs], numbers: list[np.ndarray]) -> Outputs | None:
    try:
        return run(numbers)
    except Exception:  # with these numbers a layer is left out, and draws none of its own
        return None


def _same(before: Outputs, after: Outputs | None) -> bool:
    if after is None:
        return False
    return all(np.array_equal(array, after[name], equal_nan=True) for name, array in before.items())
