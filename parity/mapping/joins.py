"""Rules with several sources, and those of recurrent cells: joined, summed, gates in another order."""

import itertools
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from parity.mapping.blocks import orders
from parity.mapping.layouts import divisors, patterns
from parity.mapping.rule import Rule

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]
FEW = 4  # sources, of which every selection is tried, whatever their names
PIECES = 4  # that are joined
PATTERNS = 6  # of a piece
GATES = {  # their order on the other side, the usual ones first; PyTorch's are i f g o and r z n
    4: ((0, 1, 2, 3), (0, 2, 1, 3), (0, 1, 3, 2), (0, 3, 1, 2), (1, 0, 2, 3)),
    3: ((0, 1, 2), (1, 0, 2)),
}
FORGET = 1
ORDER = ("q", "k", "v", "gate", "w1", "up", "w3", "i", "f", "g", "o")


def joined(sources: Shapes, shape: Shape) -> Iterator[Rule]:
    """Yield rules that concatenate or stack tensors, in every order, their heads one behind the other or in turn."""
    for keys in _selections(sources, math.prod(shape)):
        sizes, axes = [sources[key] for key in keys], range(len(shape))
        yield from sorted((rule for axis in axes for rule in _concatenated(keys, sizes, shape, axis)), key=_brackets)
        yield from sorted((rule for axis in axes for rule in _alternating(keys, sizes, shape, axis)), key=_brackets)


def joined_rearranged(sources: Shapes, shape: Shape) -> Iterator[Rule]:
    """Yield concatenations of tensors with their entries in another order: of all, or of q and k alone."""
    seen = Counter[frozenset[str]]()
    for keys in _selections(sources, math.prod(shape)):
        sizes = [sources[key] for key in keys]
        if seen[frozenset(keys)] == 2 or not 1 <= len(sizes[0]) <= 2:
            continue
        seen[frozenset(keys)] += 1
        axes = range(len(shape))
        for rule in sorted((r for axis in axes for r in _concatenated(keys, sizes, shape, axis)), key=_brackets)[:2]:
            for step in orders(sizes[0], shape):
                yield Rule(keys, (step, *rule.steps))
                if len(keys) == 3:
                    yield Rule(keys, (f"[0 of 3] {step}", f"[1 of 3] {step}", *rule.steps))


def _brackets(rule: Rule) -> int:
    """Plain steps are more usual."""
    return sum(step.count("(") for step in rule.steps)


def _selections(sources: Shapes, size: int) -> Iterator[tuple[str, ...]]:
    """Yield the tensors that have together as many elements as the leaf, the usual order first."""
    families = [list(sources)] if len(sources) <= FEW else _families(sources)
    seen = set()
    for family in families:
        for count in range(2, min(PIECES, len(family)) + 1):
            for keys in itertools.permutations(sorted(family, key=_usual), count):
                if keys not in seen and sum(math.prod(sources[key]) for key in keys) == size:
                    seen.add(keys)
                    yield keys


def _families(sources: Shapes) -> list[list[str]]:
    """Return the groups of tensors whose names differ in one part, which is no number."""
    found: dict[tuple[str, ...], list[str]] = {}
    for key in sources:
        parts = key.split(".")
        for n, part in enumerate(parts):
            if not part.isdecimal():
                found.setdefault((*parts[:n], "*", *parts[n + 1 :]), []).append(key)
    return [family for family in found.values() if 1 < len(family) <= 2 * FEW]


def _usual(key: str) -> int:
    names = [part for part in re.split(r"[._]", key) if part]
    ranks = [n for n, known in enumerate(ORDER) for part in names if part == known or (n < 3 and part[:1] == known)]
    return min(ranks, default=len(ORDER))


def _concatenated(keys: tuple[str, ...], sizes: Sequence[Shape], shape: Shape, axis: int) -> Iterator[Rule]:
    around = math.prod(shape) // shape[axis] if shape[axis] else 1
    pieces = [(*shape[:axis], math.prod(size) // max(around, 1), *shape[axis + 1 :]) for size in sizes]
    if all(math.prod(piece) == math.prod(size) for piece, size in zip(pieces, sizes, strict=True)):
        for pattern in itertools.islice(patterns(sizes[0], pieces[0]), PATTERNS):
            yield Rule(keys, (*_step(pattern), f"concat {axis}"))
    if shape[axis] == len(keys) and len(set(sizes)) == 1:
        for pattern in itertools.islice(patterns(sizes[0], (*shape[:axis], *shape[axis + 1 :])), PATTERNS):
            yield Rule(keys, (*_step(pattern), f"stack {axis}"))


def _alternating(keys: tuple[str, ...], sizes: Sequence[Shape], shape: Shape, axis: int) -> Iterator[Rule]:
    """Yield rules whose axis is (heads tensors dimension)."""
    count = len(keys)
    if count > 3 or shape[axis] % count or len(set(sizes)) > 1 or shape[axis] == count or len(shape) > 2:
        return
    piece = (*shape[:axis], shape[axis] // count, *shape[axis + 1 :])
    left, right = (
        ("t (h d)", "(h t d)")
        if len(shape) == 1
        else ("t (h d) i", "(h t d) i")
        if axis == 0
        else ("i t (h d)", "i (h t d)")
    )
    for pattern in itertools.islice(patterns(sizes[0], piece), 2):
        for dim in (*divisors(piece[axis]), 1):
            yield Rule(keys, (*_step(pattern), f"stack {axis}", f"{left} -> {right} | d={dim}"))


def _step(pattern: str) -> tuple[str, ...]:
    return (pattern,) if pattern else ()


def gates(sources: Shapes, shape: Shape) -> Iterator[Rule]:
    """Yield rules of recurrent cells: gates apart or in another order, biases summed, a forget bias of one inside."""
    yield from _gates_apart(sources, shape)
    for count, usual in GATES.items():
        for order in dict.fromkeys((*usual, *itertools.permutations(range(count)))):
            steps = () if order == tuple(range(count)) else (f"reorder 0: {' '.join(map(str, order))} of {count}",)
            yield from _in_order(sources, shape, steps, count, order)
    for first, second in _pairs(sources):
        if len(sources[first]) == 1 and sources[first][0] % 3 == 0:  # of a GRU, whose last gate has two biases
            for pattern in patterns(sources[first], shape):
                yield Rule((first, second), ("[1 of 2] blank 2 of 3 along 0", "sum", *_step(pattern)))
                yield Rule((first, second), ("[0 of 2] blank 2 of 3 along 0", "sum", *_step(pattern)))


def _gates_apart(sources: Shapes, shape: Shape) -> Iterator[Rule]:
    for key, size in sources.items():
        for count in (4, 3):
            if size and size[0] % count == 0 and math.prod(size) == count * math.prod(shape):
                for gate in range(count):
                    for pattern in patterns((size[0] // count, *size[1:]), shape):
                        yield Rule((key,), (f"take {gate} of {count} along 0", *_step(pattern)))


def _in_order(
    sources: Shapes, shape: Shape, steps: tuple[str, ...], count: int, order: tuple[int, ...]
) -> Iterator[Rule]:
    """Yield the rules whose gates have one order."""
    pairs = list(_pairs(sources))
    for keys in [*[(key,) for key in sources], *pairs]:
        size = sources[keys[0]]
        if not size or size[0] % count:
            continue
        total = ("sum",) if len(keys) == 2 else ()
        if len(size) == 1 or len(keys) == 1:
            for pattern in patterns(size, shape):
                yield Rule(keys, (*steps, *total, *_step(pattern)))
                if count == 4 and len(size) == 1:
                    place = order.index(FORGET)
                    yield Rule(keys, (*steps, *total, f"add -1 to {place} of 4 along 0", *_step(pattern)))
    for keys in pairs:
        sizes = [sources[key] for key in keys]
        if sizes[0][0] % count == 0 and sum(map(math.prod, sizes)) == math.prod(shape):
            for rule in (r for axis in range(len(shape)) for r in _concatenated(keys, sizes, shape, axis)):
                yield Rule(keys, (*steps, *rule.steps))


def summed(sources: Shapes, shape: Shape) -> Iterator[Rule]:
    """Yield sums of two biases, or of one block of both."""
    for keys in _pairs(sources, FEW):
        size = sources[keys[0]]
        if len(size) != 1 or size != sources[keys[1]]:
            continue
        for pattern in patterns(size, shape):
            yield Rule(keys, ("sum", *_step(pattern)))
        count = size[0] // max(math.prod(shape), 1)
        if 2 <= count <= 4 and size[0] == count * math.prod(shape):
            for block in range(count):
                for pattern in patterns((size[0] // count,), shape):
                    yield Rule(keys, (f"take {block} of {count} along 0", "sum", *_step(pattern)))


def _pairs(sources: Shapes, few: int = 0) -> Iterator[tuple[str, str]]:
    """Yield the two tensors of a recurrent cell that belong together; of few sources, any two."""
    seen = set()
    for key in sources:
        other = key.replace("_ih", "_hh")
        if other != key and other in sources:
            seen.add((key, other))
            yield key, other
    if len(sources) <= few:
        yield from (pair for pair in itertools.combinations(sources, 2) if pair not in seen)
