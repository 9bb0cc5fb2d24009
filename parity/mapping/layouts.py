"""Einops patterns between two shapes: axes permuted, split, merged, dropped and added."""

import itertools
import math
from collections.abc import Iterator, Sequence

LETTERS = "abcdefghjklmnpqrstuvwxyz"
AXES = {1: "c", 2: "oi", 3: "oiw", 4: "oihw", 5: "oidhw"}
SPLIT = "hdgmpqrsuvxyzabcefjklnt"
PERMUTED = 5  # axes at most, of which every permutation is tried
USUAL = {  # orders of PyTorch's axes on the other side
    2: ((1, 0), (0, 1)),
    3: ((2, 1, 0), (2, 0, 1), (0, 1, 2)),
    4: ((2, 3, 1, 0), (2, 3, 0, 1), (0, 1, 2, 3), (0, 2, 3, 1), (3, 2, 1, 0)),
    5: ((2, 3, 4, 1, 0), (2, 3, 4, 0, 1), (0, 1, 2, 3, 4), (0, 2, 3, 4, 1)),
}
Shape = Sequence[int]


def patterns(source: Shape, target: Shape) -> Iterator[str]:
    """Yield "" or the patterns that turn one shape into another without a reordering inside an axis, usual ones first.

    One side's axes are the parts of the other's; else both are parts of a permutation of the source.
    """
    if tuple(source) == tuple(target):
        yield ""
    if math.prod(source) != math.prod(target):
        return
    left, right = [n for n in source if n != 1], [n for n in target if n != 1]
    found: dict[str, tuple[int, ...]] = {}
    if len(left) <= len(right) <= 2 * PERMUTED:
        for groups in _groupings(left, right):
            found.setdefault(_text(source, target, groups, [[n] for n in range(len(right))], right), _cost(groups))
    if len(right) < len(left) <= 2 * PERMUTED:
        for groups in _groupings(right, left):
            found.setdefault(_text(source, target, [[n] for n in range(len(left))], groups, left), _cost(groups))
    if not found:
        found = dict.fromkeys(_aligned(source, target, left, right), (0,))
    for text in sorted(found, key=found.__getitem__):
        if not _same(text):
            yield text


def _groupings(wholes: Shape, parts: Shape) -> Iterator[list[list[int]]]:
    """Yield the ways to divide parts among wholes whose sizes are their products; each has its parts in all orders."""

    def assign(whole: int, rest: tuple[int, ...]) -> Iterator[list[list[int]]]:
        if whole == len(wholes):
            if not rest:
                yield []
            return
        for count in range(1, len(rest) + 1):
            for chosen in itertools.permutations(rest, count):
                if math.prod(parts[n] for n in chosen) == wholes[whole]:
                    left = tuple(n for n in rest if n not in chosen)
                    yield from ([list(chosen), *others] for others in assign(whole + 1, left))

    if len(parts) <= PERMUTED + 1:
        yield from itertools.islice(assign(0, tuple(range(len(parts)))), 2000)


def _cost(groups: list[list[int]]) -> tuple[int, ...]:
    """Order of usualness: parts in order inside an axis, then usual permutations, then the rest."""
    swapped = sum(a > b for group in groups for a, b in itertools.combinations(group, 2))
    order = tuple(sorted(range(len(groups)), key=lambda n: groups[n]))
    usual = USUAL.get(len(groups), ())
    split = sum(part != group[0] + n for group in groups for n, part in enumerate(group))
    return swapped, split, usual.index(order) if order in usual else len(usual), *order


def _text(source: Shape, target: Shape, left: list[list[int]], right: list[list[int]], sizes: Shape) -> str:
    """Return the pattern for axes that are groups of numbered parts; of a split axis, all sizes but one are given."""
    names = _names(source, left)
    pattern = f"{_side(source, left, names)} -> {_side(target, right, names)}".strip()
    given = [f"{names[n]}={sizes[n]}" for group in left for n in group[1:]]
    return f"{pattern} | {' '.join(given)}" if given else pattern


def _names(source: Shape, left: list[list[int]]) -> dict[int, str]:
    """Return the letters of parts: whole axes as in PyTorch's documentation, heads and dimensions for a split one."""
    found: dict[int, str] = {}
    axes = [AXES[len(source)][n] for n, size in enumerate(source) if size != 1] if len(source) in AXES else LETTERS
    for group, letter in zip(left, axes, strict=False):
        if len(group) == 1:
            found[group[0]] = letter
    free = (letter for letter in SPLIT if letter not in found.values())
    return found | {n: next(free) for group in left if len(group) > 1 for n in group}


def _side(shape: Shape, groups: list[list[int]], names: dict[int, str]) -> str:
    axes = iter(groups)
    return " ".join("1" if size == 1 else _axis([names[n] for n in next(axes)]) for size in shape)


def _axis(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"({' '.join(names)})"


def _aligned(source: Shape, target: Shape, left: Shape, right: Shape) -> Iterator[str]:
    """Yield patterns of a permutation of the source whose parts and those of the target fit into each other."""
    if len(left) > PERMUTED:
        return
    for order in sorted(itertools.permutations(range(len(left))), key=lambda o: _cost([[n] for n in _inverted(o)])):
        wholes = [left[n] for n in order]
        ends = sorted({*itertools.accumulate(wholes, _times), *itertools.accumulate(right, _times)})
        if any(b % a for a, b in itertools.pairwise([1, *ends])):
            continue
        sizes = [b // a for a, b in itertools.pairwise([1, *ends])]
        permuted, new = _cut(wholes, ends), _cut(right, ends)
        yield _text(source, target, [permuted[order.index(n)] for n in range(len(left))], new, sizes)


def _inverted(order: Sequence[int]) -> list[int]:
    return [order.index(n) for n in range(len(order))]


def _times(a: int, b: int) -> int:
    return a * b


def _cut(sizes: Shape, ends: Sequence[int]) -> list[list[int]]:
    found, start = [], 0
    for end in itertools.accumulate(sizes, _times):
        stop = ends.index(end) + 1
        found.append(list(range(start, stop)))
        start = stop
    return found


def _same(pattern: str) -> bool:
    left, right = pattern.partition("|")[0].split("->")
    return left.strip() == right.strip()


def divisors(size: int) -> list[int]:
    """Return the divisors of a size but 1 and itself, usual counts of heads first."""
    return [n for n in range(2, size) if size % n == 0]
