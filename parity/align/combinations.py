"""Orders in which several weights, or several parts of one result, are tried."""

import re
from collections.abc import Iterator, Sequence

import numpy as np

from parity.align.found import Found
from parity.align.symbols import Piece
from parity.mapping.rule import Rule


def in_order(pieces: Sequence[Piece], options: Sequence[Sequence[Found]]) -> Iterator[dict[Piece, Found]]:
    """Yield combinations in which pieces of one shape are the successive parts of one tensor."""
    first = options[0]
    for option in first:
        if option.rule is None:
            continue
        turns = [_next(option, i) for i in range(len(pieces))]
        chosen = [
            next((o for o in list_ if o.rule is not None and o.rule == turn), None)
            for list_, turn in zip(options, turns, strict=True)
        ]
        if turns[0] == option.rule and all(c is not None for c in chosen):
            yield dict(zip(pieces, chosen, strict=True))  # type: ignore[arg-type]


def is_whole(option: Found) -> bool:
    """Tell whether a leaf is a whole tensor, or its own: no part of one that others may have parts of, too."""
    return option.rule is None or not any(step.startswith("take ") for step in option.rule.steps)


def nearest_first(options: Sequence[Sequence[Found]]) -> Iterator[tuple[Found, ...]]:
    """Yield combinations, those of the first options of all before those of a late one."""
    for total in range(sum(len(several) - 1 for several in options) + 1):
        yield from _of_total(options, total)


def _of_total(options: Sequence[Sequence[Found]], total: int) -> Iterator[tuple[Found, ...]]:
    if not options:
        if total == 0:
            yield ()
        return
    for number, option in enumerate(options[0][: total + 1]):
        yield from ((option, *rest) for rest in _of_total(options[1:], total - number))


def _next(option: Found, by: int) -> Rule | None:
    """Return the rule that takes a later part of the same tensors."""
    steps = []
    for step in option.rule.steps if option.rule else ():
        match = re.fullmatch(r"take (\d+) of (.*)", step)
        steps.append(f"take {int(match[1]) + by} of {match[2]}" if match else step)
    return option.rule._replace(steps=tuple(steps)) if option.rule else None


def chunks(result: np.ndarray) -> Iterator[list[np.ndarray]]:
    """Yield the parts of an array that several weights may have given: along an axis, or in turns along the last."""
    for axis in reversed(range(result.ndim)):
        for count in (2, 3, 4):
            if result.shape[axis] % count == 0 and result.shape[axis] > count:
                yield _split(result, count, axis)
            elif result.shape[axis] == count and result.ndim > 2:
                yield [part.squeeze(axis) for part in _split(result, count, axis)]
    size = result.shape[-1] if result.ndim else 1
    for count in (3, 2):
        for groups in range(2, size // count + 1):
            if size % (groups * count) == 0:
                turned = result.reshape(*result.shape[:-1], groups, count, -1)
                yield [turned[..., i, :] for i in range(count)]


def _split(array: np.ndarray, count: int, axis: int) -> list[np.ndarray]:
    """Return equal parts along an axis, a few times faster than `np.split` does."""
    before, length = (slice(None),) * axis, array.shape[axis] // count
    return [array[(*before, slice(i * length, (i + 1) * length))] for i in range(count)]
