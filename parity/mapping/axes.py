"""Patterns of axes as einops has them, in numpy alone: "(h d) i -> i h d", with sizes; a new name repeats."""

import math
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np

TOKEN = re.compile(r"\s*(\(|\)|\.\.\.|[A-Za-z]\w*|1(?!\w))")
REST, JOINED = "...", "(...)"  # axes that have no names; the same inside of brackets
Side = tuple[tuple[str, ...], ...]  # the names that each axis is made of; none for an axis of length 1


def rearranged(array: np.ndarray, pattern: str, sizes: Mapping[str, int]) -> np.ndarray:
    """Return an array with its axes split, moved, joined and repeated by a pattern.

    Raises:
        ValueError: the pattern is none, or does not fit the array.
    """
    left, right = _expanded(*_sides(pattern), array.ndim, pattern)
    if len(left) != array.ndim:
        raise ValueError(f"the pattern has {len(left)} axes on its left, the array {array.ndim}")
    found = dict(sizes)
    for names, side in zip(left, array.shape, strict=True):
        _solve(names, side, found)
    before, after = ([name for names in groups for name in names] for groups in (left, right))
    if unknown := [name for name in after if name not in found]:
        raise ValueError(f"nothing gives the size of {unknown[0]}")
    if lost := [name for name in before if name not in after]:
        raise ValueError(f"{lost[0]} is on the left alone")
    result = array.reshape([found[name] for name in before])
    result = result.transpose([before.index(name) for name in after if name in before])
    for axis, name in enumerate(after):
        if name not in before:
            result = np.repeat(np.expand_dims(result, axis), found[name], axis)
    return result.reshape([math.prod(found[name] for name in names) for names in right])


def _solve(names: Sequence[str], side: int, found: dict[str, int]) -> None:
    """Find the sizes of the names that an axis is made of."""
    open_ = [name for name in names if name not in found]
    known = math.prod(found[name] for name in names if name in found)
    if len(open_) > 1:
        raise ValueError(f"nothing gives the sizes of {' and '.join(open_)}")
    if open_ and known and side % known == 0:
        found[open_[0]] = side // known
    elif open_ or side != known:
        raise ValueError(f"an axis of {side} cannot be ({' '.join(names)}) with {known}")


@lru_cache(maxsize=4096)
def _sides(pattern: str) -> tuple[Side, Side]:
    left, arrow, right = pattern.partition("->")
    if not arrow:
        raise ValueError("a pattern has an arrow: o i -> i o")
    return _parsed(left, pattern), _parsed(right, pattern)


def _parsed(text: str, pattern: str) -> Side:
    groups, inside, at = list[tuple[str, ...]](), None, 0
    names = list[str]()
    while text[at:].strip():
        match = TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"'{pattern}' is no pattern: '{text[at:].strip()}'")
        at, token = match.end(), match[1]
        if token in ("(", ")"):
            if (token == "(") == (inside is not None):
                raise ValueError(f"'{pattern}' is no pattern: its brackets do not match")
            if inside is not None:
                groups.append(tuple(inside))
            inside = [] if inside is None else None
            continue
        new = [] if token == "1" else [token]
        names += new
        if inside is None:
            groups.append(tuple(new))
        else:
            inside += [JOINED if name == REST else name for name in new]
    if inside is not None or len(set(names)) < len(names):
        raise ValueError(f"'{pattern}' is no pattern: a bracket is open, or a name stands twice on one side")
    return tuple(groups)


def _expanded(left: Side, right: Side, count: int, pattern: str) -> tuple[Side, Side]:
    """Return both sides with "..." as so many axes."""
    if not any(name in (REST, JOINED) for names in (*left, *right) for name in names):
        return left, right
    if (REST,) not in left or any(JOINED in names for names in left):
        raise ValueError(f"'{pattern}': ... stands for axes on the left, once and in no brackets")
    rest = tuple(f"...{axis}" for axis in range(max(0, count - len(left) + 1)))

    def filled(side: Side) -> Side:
        result = list[tuple[str, ...]]()
        for names in side:
            if names == (REST,):
                result += [(name,) for name in rest]
            else:
                result.append(tuple(n for name in names for n in (rest if name == JOINED else (name,))))
        return tuple(result)

    return filled(left), filled(right)
