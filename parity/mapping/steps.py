"""The steps of a rule: text that people read and correct, parsed into functions of arrays.

o i -> i o | o=4            an einops pattern, with sizes; a new name on the right repeats
flip 0 1                    reverse axes
take 1 of 3 along 0         one of equal blocks of an axis
reorder 0: 0 2 1 3 of 4     equal blocks of an axis in another order; blocks may be left out
slice 2: along 0            a range of an axis
index 1 along 0             one entry of an axis, which is dropped
blank 2 of 3 along 0        zeros in place of a block
add -1                      add a constant; add 1 to 2 of 4 along 0: to one block alone
concat 0, stack 0, sum      join all arrays; concat 0 by 2: each two neighbours
[1 of 2] STEP               STEP on the second of each two arrays alone
"""

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from data.errors import UserError
from data.registry import nearest
from parity.mapping.axes import rearranged

WORDS = ("flip", "take", "reorder", "slice", "index", "blank", "add", "concat", "stack", "sum")
BLOCK = r"(\d+) of (\d+) along (-?\d+)"
NAME = re.compile(r"[A-Za-z]\w*")


class Step(NamedTuple):
    """A parsed step."""

    text: str
    word: str  # the first one, or "pattern"
    args: tuple[Any, ...]  # what follows it: numbers; of a pattern the function of einops, the pattern and its sizes
    kind: str  # "move": array to array; "join" and "sum": arrays to array; "add": shape to constant; "blank": to mask
    run: Callable[..., Any]
    only: tuple[int, int] | None = None  # of each so many arrays, the one with this number
    by: int = 0  # how many neighbours are joined; 0: all


@functools.cache
def parse(text: str) -> Step:
    """Return the step that a text stands for.

    Raises:
        UserError: it stands for none.
    """
    body, only = text.strip(), None
    if found := re.match(r"\[(\d+) of (\d+)\]\s*", body):
        only, body = (int(found[1]), int(found[2])), body[found.end() :]
        if only[0] >= only[1]:
            raise UserError(f"step '{text}': counted from 0, the last of {only[1]} is {only[1] - 1}")
    if "->" in body:
        args = _pattern(body, text)
        return Step(text, "pattern", args, "move", _einops(*args), only)
    word, _, rest = body.partition(" ")
    if word in ("concat", "stack", "sum"):
        if only:
            raise UserError(f"step '{text}': {word} joins arrays, so it has no [{only[0]} of {only[1]}]")
        return _join(word, rest.strip(), text)
    if word not in WORDS:
        raise UserError(
            f"unknown step '{text}'.{nearest(word, WORDS)} Known: a pattern 'o i -> i o', {', '.join(WORDS)}"
        )
    args = _args(word, rest.strip(), text)
    return Step(text, word, args, KINDS.get(word, "move"), RUN[word](*args), only)


def _pattern(body: str, text: str) -> tuple[str, str, dict[str, int]]:
    pattern, _, given = body.partition("|")
    pairs = [part.partition("=") for part in given.replace(",", " ").split()]
    if not all(NAME.fullmatch(name) and size.isdecimal() for name, _, size in pairs):
        raise UserError(f"step '{text}': expected sizes such as h=4 after '|', found '{given.strip()}'")
    left, _, right = pattern.partition("->")
    new = set(NAME.findall(right)) - set(NAME.findall(left))
    return "repeat" if new else "rearrange", pattern.strip(), {name: int(size) for name, _, size in pairs}


def _einops(_function: str, pattern: str, sizes: dict[str, int]) -> Callable[[np.ndarray], np.ndarray]:
    return lambda array: rearranged(array, pattern, sizes)


def _join(word: str, rest: str, text: str) -> Step:
    found = re.fullmatch(r"(-?\d+)?\s*(?:by (\d+))?", rest)
    if not found or (found[1] is None) != (word == "sum") or found[2] == "0":
        raise UserError(f"step '{text}': expected '{word}{'' if word == 'sum' else ' AXIS'}' or that with 'by COUNT'")
    by = int(found[2] or 0)
    if word == "sum":
        return Step(text, word, (), "sum", _add_all, None, by)
    axis, join = int(found[1]), np.concatenate if word == "concat" else np.stack
    return Step(text, word, (axis,), "join", lambda arrays: join(arrays, axis), None, by)


def _add_all(arrays: Sequence[np.ndarray]) -> np.ndarray:
    if len({array.shape for array in arrays}) > 1:
        raise ValueError("a sum needs arrays of one shape")
    return functools.reduce(np.add, arrays)


def _args(word: str, rest: str, text: str) -> tuple[Any, ...]:
    """Return the numbers in a step: blocks as (block, count, axis)."""
    if word == "flip" and re.fullmatch(r"-?\d+( -?\d+)*", rest):
        return (tuple(map(int, rest.split())),)
    if word in ("take", "blank") and (found := re.fullmatch(BLOCK, rest)):
        return tuple(map(int, found.groups()))
    if word == "reorder" and (found := re.fullmatch(r"(-?\d+):((?: \d+)+) of (\d+)", rest)):
        return tuple(map(int, found[2].split())), int(found[3]), int(found[1])
    if word == "slice" and (found := re.fullmatch(r"(-?\d*):(-?\d*) along (-?\d+)", rest)):
        return *(int(found[n]) if found[n] else None for n in (1, 2)), int(found[3])
    if word == "index" and (found := re.fullmatch(r"(\d+) along (-?\d+)", rest)):
        return int(found[1]), int(found[2])
    if word == "add" and (found := re.fullmatch(rf"([-+]?\d+\.?\d*(?:e-?\d+)?)(?: to {BLOCK})?", rest)):
        return float(found[1]), *(int(found[n]) for n in (2, 3, 4) if found[n])
    raise UserError(f"step '{text}': expected {EXPECTED[word]}")


EXPECTED = {
    "flip": "'flip AXIS AXIS ...'",
    "take": "'take BLOCK of COUNT along AXIS'",
    "reorder": "'reorder AXIS: BLOCK BLOCK ... of COUNT'",
    "slice": "'slice START:STOP along AXIS'",
    "index": "'index NUMBER along AXIS'",
    "blank": "'blank BLOCK of COUNT along AXIS'",
    "add": "'add NUMBER' or 'add NUMBER to BLOCK of COUNT along AXIS'",
}


KINDS = {"blank": "blank", "add": "add"}
RUN: dict[str, Callable[..., Callable[..., Any]]] = {
    "flip": lambda axes: lambda array: np.flip(array, axes),
    "take": lambda block, count, axis: lambda array: _blocks(array, (block,), count, axis),
    "reorder": lambda order, count, axis: lambda array: _blocks(array, order, count, axis),
    "slice": lambda start, stop, axis: lambda array: array[_at(array.shape, axis, slice(start, stop))],
    "index": lambda number, axis: lambda array: array.take(number, axis),
    "blank": lambda block, count, axis: _mask(block, count, axis),
    "add": lambda number, *block: lambda shape: number * (_mask(*block) if block else np.ones)(shape),
}


def _blocks(array: np.ndarray, order: Sequence[int], count: int, axis: int) -> np.ndarray:
    parts = [array[_block(array.shape, block, count, axis)] for block in order]
    return np.concatenate(parts, axis) if len(parts) > 1 else parts[0]


def _mask(block: int, count: int, axis: int) -> Callable[[tuple[int, ...]], np.ndarray]:
    def mask(shape: tuple[int, ...]) -> np.ndarray:
        found = np.zeros(shape, bool)
        found[_block(shape, block, count, axis)] = True
        return found

    return mask


def _block(shape: tuple[int, ...], block: int, count: int, axis: int) -> tuple[slice, ...]:
    size = shape[axis]  # an IndexError tells that there is no such axis
    if not 0 <= block < count:
        raise ValueError(f"counted from 0, the last of {count} blocks is {count - 1}")
    if size % count:
        raise ValueError(f"axis {axis} has {size} entries, which are not {count} equal blocks")
    return _at(shape, axis, slice(block * size // count, (block + 1) * size // count))


def _at(shape: tuple[int, ...], axis: int, part: slice) -> tuple[slice, ...]:
    return tuple(part if n == axis % len(shape) else slice(None) for n in range(len(shape)))
