"""Rules with a part of one source, or with the entries of an axis in another order."""

import itertools
import math
from collections.abc import Iterator, Mapping

from parity.mapping.layouts import divisors, patterns
from parity.mapping.rule import Rule

Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]
BLOCKS = 12  # of an axis
PATTERNS = 4
MOST_PADDED = 2  # times as long as it is
NAMES = {1: ("",), 2: ("{} i", "o {}")}


def taken(sources: Shapes, shape: Shape) -> Iterator[Rule]:
    """Yield one of equal blocks: q, k or v out of a fused projection, one half of a gated unit."""
    wanted = math.prod(shape)
    for key, size in sources.items():
        count, rest = divmod(math.prod(size), wanted) if wanted else (0, 1)
        if rest or count < 2:
            continue
        for axis, length in enumerate(size):
            if length % count or (count > BLOCKS and length != count):
                continue
            piece = (*size[:axis], length // count, *size[axis + 1 :])
            for block in range(count):
                for pattern in itertools.islice(patterns(piece, shape), PATTERNS):
                    yield Rule((key,), (f"take {block} of {count} along {axis}", *_step(pattern)))


def offset(sources: Shapes, shape: Shape) -> Iterator[Rule]:
    """Yield a range of an axis, and the same range of each of equal groups of it (heads)."""
    wanted = math.prod(shape)
    for key, size in sources.items():
        for axis, length in enumerate(size):
            around = math.prod(size) // length if length else 0
            width, rest = divmod(wanted, around) if around else (0, 1)
            if rest or not 0 < width < length:
                continue
            for start in dict.fromkeys((0, length - width, length - 2 * width, width)):
                block = length % width == 0 and start % width == 0 and length // width <= BLOCKS  # as in `taken`
                if 0 <= start <= length - width and not block:
                    piece = (*size[:axis], width, *size[axis + 1 :])
                    for pattern in itertools.islice(patterns(piece, shape), PATTERNS):
                        yield Rule((key,), (f"slice {start}:{start + width} along {axis}", *_step(pattern)))
            if axis == 0 and len(size) <= 2:
                yield from _in_groups(key, size, width, shape)


def padded(sources: Shapes, shape: Shape) -> Iterator[Rule]:
    """Yield tensors with zeros behind an axis: a vocabulary that is rounded up to a multiple of 64."""
    for key, size in sources.items():
        for axis, length in enumerate(size):
            around = math.prod(size) // length if length else 0
            longer, rest = divmod(math.prod(shape), around) if around else (0, 1)
            if rest or not length < longer <= MOST_PADDED * length or (len(size) < 2 and len(shape) > 1):
                continue
            piece = (*size[:axis], longer, *size[axis + 1 :])
            for pattern in itertools.islice(patterns(piece, shape), PATTERNS):
                yield Rule((key,), (f"pad {longer - length} along {axis}", *_step(pattern)))


def _in_groups(key: str, size: Shape, width: int, shape: Shape) -> Iterator[Rule]:
    """Yield the rows of one kind where kinds alternate, head by head: (heads three dimension), or more of q than k."""
    heads = [n for n in (*divisors(size[0]), width) if width % n == 0 and size[0] % n == 0]
    if len(shape) > 1 and any(n in shape for n in heads) and len([n for n in shape if n != 1]) > len(size):
        heads = [n for n in heads if n in shape]
    rest = " i" if len(size) == 2 else ""
    for groups in dict.fromkeys(heads):
        each, part = size[0] // groups, width // groups
        for start in dict.fromkeys((0, part, each - 2 * part, each - part)):
            if 0 <= start <= each - part:
                steps = f"(h d){rest} -> h d{rest} | h={groups}", f"slice {start}:{start + part} along 1"
                for pattern in itertools.islice(patterns((groups, part, *size[1:]), shape), 2):
                    yield Rule((key,), (*steps, *_step(pattern)))


def rearranged(sources: Shapes, shape: Shape) -> Iterator[Rule]:
    """Yield entries of an axis in another order, and heads that are repeated."""
    for key, size in sources.items():
        if len(size) not in NAMES:
            continue
        if math.prod(size) == math.prod(shape):
            for step in orders(size, shape):
                for pattern in itertools.islice(patterns(size, shape), 2):
                    yield Rule((key,), (step, *_step(pattern)))
        else:
            yield from _repeated(key, size, shape)


def taken_rearranged(sources: Shapes, shape: Shape) -> Iterator[Rule]:
    """Yield a block with its entries in another order: q or k for the other kind of rotary embedding."""
    for rule in taken(sources, shape):
        take, *rest = rule.steps
        number, _, count, _, axis = take.split()[1:]
        (size,) = (sources[key] for key in rule.sources)
        if int(count) > 3 or axis != "0" or int(number) > 1 or len(size) not in NAMES:
            continue
        for step in orders((size[0] // int(count), *size[1:]), shape):
            yield Rule(rule.sources, (take, step, *rest))


def orders(size: Shape, shape: Shape) -> Iterator[str]:
    """Yield steps: channels last or first in a flattened axis, rotary halves or pairs, blocks exchanged."""
    for count in (2, 3):
        if size[0] % count == 0 and size[0] > count:
            for order in [*itertools.permutations(range(count))][1:]:
                yield f"reorder 0: {' '.join(map(str, order))} of {count}"
    rest = " i" if len(size) == 2 else ""
    for kinds in (2, 3):
        heads = [n for n in (*divisors(size[0] // kinds), 1) if size[0] % (kinds * n) == 0]
        if len([n for n in shape if n != 1]) > len(size):
            heads = [n for n in heads if n in shape]
        for count in heads if size[0] % kinds == 0 else ():
            yield from _in_turn(kinds, size[0] // (kinds * count), rest, many=count > 1)
    for axis in reversed(range(len(size))):
        frame = NAMES[len(size)][axis] or "{}"
        for part in divisors(size[axis]):
            yield f"{frame.format('(c s)')} -> {frame.format('(s c)')} | s={part}"


def _in_turn(kinds: int, dim: int, rest: str, *, many: bool) -> Iterator[str]:
    """Yield steps for heads of several kinds: rotary halves against pairs; q, k, v head by head against q first."""
    if dim > 1 and kinds == 2:
        yield f"(h t d){rest} -> (h d t){rest} | t=2 d={dim}"
        yield f"(h d t){rest} -> (h t d){rest} | d={dim} t=2"
    if dim > 1 and many:
        yield f"(h t d){rest} -> (t h d){rest} | t={kinds} d={dim}"
        yield f"(t h d){rest} -> (h t d){rest} | t={kinds} d={dim}"


def _repeated(key: str, size: Shape, shape: Shape) -> Iterator[Rule]:
    """Yield heads of keys and values that are there once for several heads of queries: h h h k k k or h k h k."""
    count, rest = divmod(math.prod(shape), math.prod(size) or 1)
    if rest or count < 2 or not size:
        return
    larger = (size[0] * count, *size[1:])
    right = " i" if len(size) == 2 else ""
    dims = [n for n in (*divisors(size[0]), 1) if len(shape) <= len(size) or n in shape]
    for dim in dims:
        for target in (f"(h r d){right}", f"(r h d){right}"):
            step = f"(h d){right} -> {target} | d={dim} r={count}"
            for pattern in itertools.islice(patterns(larger, shape), 2):
                yield Rule((key,), (step, *_step(pattern)))


def _step(pattern: str) -> tuple[str, ...]:
    return (pattern,) if pattern else ()
