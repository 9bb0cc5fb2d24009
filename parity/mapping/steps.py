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

import einops
import numpy as np

from data.errors import UserError
from data.registry import nearest

WORDS = ("flip", "take", "reorder", "slice", "index", "blank", "add", "concat", "stack", "sum")
BLOCK = r"(\d+) of (\d+) along (-?\d+)"
NAME = re.compile(r"[A-Za-z]\w*")


class Step(NamedTuple):
    """A parsed step."""

    text: str
    kind: (
        str  # "move": array -> array; "join": arrays -> array; "sum"; "add": shape -> constant; "blank": shape -> mask
    )
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
        return Step(text, "move", _pattern(body, text), only)
    word, _, rest = body.partition(" ")
    if word in ("concat", "stack", "sum"):
        if only:
            raise UserError(f"step '{text}': {word} joins arrays, so it has no [{only[0]} of {only[1]}]")
        return _join(word, rest.strip(), text)
    if word not in WORDS:
        raise UserError(
            f"unknown step '{text}'.{nearest(word, WORDS)} Known: a pattern 'o i -> i o', {', '.join(WORDS)}"
        )
    kind, run = _single(word, rest.strip(), text)
    return Step(text, kind, run, only)


def _pattern(body: str, text: str) -> Callable[[np.ndarray], np.ndarray]:
    pattern, _, given = body.partition("|")
    pairs = [part.partition("=") for part in given.replace(",", " ").split()]
    if not all(NAME.fullmatch(name) and size.isdecimal() for name, _, size in pairs):
        raise UserError(f"step '{text}': expected sizes such as h=4 after '|', found '{given.strip()}'")
    left, right = pattern.split("->")
    new = set(NAME.findall(right)) - set(NAME.findall(left))
    call = einops.repeat if new else einops.rearrange
    return lambda array: call(array, pattern.strip(), **{name: int(size) for name, _, size in pairs})


def _join(word: str, rest: str, text: str) -> Step:
    found = re.fullmatch(r"(-?\d+)?\s*(?:by (\d+))?", rest)
    if not found or (found[1] is None) != (word == "sum") or found[2] == "0":
        raise UserError(f"step '{text}': expected '{word}{'' if word == 'sum' else ' AXIS'}' or that with 'by COUNT'")
    by = int(found[2] or 0)
    if word == "sum":
        return Step(text, "sum", _add_all, None, by)
    axis, join = int(found[1]), np.concatenate if word == "concat" else np.stack
    return Step(text, "join", lambda arrays: join(arrays, axis), None, by)


def _add_all(arrays: Sequence[np.ndarray]) -> np.ndarray:
    if len({array.shape for array in arrays}) > 1:
        raise ValueError("a sum needs arrays of one shape")
    return functools.reduce(np.add, arrays)


def _single(word: str, rest: str, text: str) -> tuple[str, Callable[..., Any]]:
    if word == "flip" and re.fullmatch(r"-?\d+( -?\d+)*", rest):
        axes = tuple(map(int, rest.split()))
        return "move", lambda array: np.flip(array, axes)
    if word == "take" and (found := re.fullmatch(BLOCK, rest)):
        block, count, axis = map(int, found.groups())
        return "move", lambda array: _blocks(array, [block], count, axis)
    if word == "reorder" and (found := re.fullmatch(r"(-?\d+):((?: \d+)+) of (\d+)", rest)):
        axis, order, count = int(found[1]), list(map(int, found[2].split())), int(found[3])
        return "move", lambda array: _blocks(array, order, count, axis)
    if word == "slice" and (found := re.fullmatch(r"(-?\d*):(-?\d*) along (-?\d+)", rest)):
        part = slice(*(int(found[n]) if found[n] else None for n in (1, 2)))
        return "move", lambda array: array[_at(array.shape, int(found[3]), part)]
    if word == "index" and (found := re.fullmatch(r"(\d+) along (-?\d+)", rest)):
        return "move", lambda array: array.take(int(found[1]), int(found[2]))
    if word == "blank" and (found := re.fullmatch(BLOCK, rest)):
        return "blank", _mask(*map(int, found.groups()))
    if word == "add" and (found := re.fullmatch(rf"([-+]?\d+\.?\d*(?:e-?\d+)?)(?: to {BLOCK})?", rest)):
        mask = _mask(int(found[2]), int(found[3]), int(found[4])) if found[2] else np.ones
        return "add", lambda shape: float(found[1]) * mask(shape)
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


def _blocks(array: np.ndarray, order: list[int], count: int, axis: int) -> np.ndarray:
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
