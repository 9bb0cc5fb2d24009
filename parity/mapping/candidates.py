"""Every usual relation between PyTorch's tensors and one array of a JAX model, the most usual first."""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np

from experiment.weights.layout import CopyError
from parity.mapping import blocks, joins
from parity.mapping.layouts import patterns
from parity.mapping.rule import Rule
from parity.mapping.stacked import stacked

LIMIT, PART = 600, 200  # rules of a leaf, and of one kind of relation among them, of few tensors
LIMIT_EACH, PART_EACH = 24, 10  # the same for each of many tensors
# Elements of a leaf up to which rules are compared in all of them, and in some; of larger ones, by their steps.
COMPARED, SAMPLED, SAMPLES = 2**18, 2**20, 2**12
Shape = tuple[int, ...]
Shapes = Mapping[str, Shape]


Part = Callable[[Shapes, Shape], Iterator[Rule]]
LAST = (blocks.rearranged, blocks.taken_rearranged, joins.joined_rearranged)


def rules(sources: Shapes, shape: Shape, kind: str = "") -> Iterator[Rule]:
    """Yield the rules that make a leaf of `shape` from one or several of these tensors, the most usual first.

    Args:
        sources: keys of the state_dict to shapes.
        shape: of the leaf.
        kind: "conv_transpose" tries flipped kernels first, "rnn" adds gates in other orders, "embedding" leaves out
            what reorders inside an axis; "conv" and "" change nothing.
    """
    shape, sources = tuple(shape), {key: tuple(size) for key, size in sources.items()}
    gates = kind == "rnn" or any("_ih" in key or "_hh" in key for key in sources)
    if len(sources) > 1:
        yield from _rules(sources, shape, kind, gates)
        return
    for key, size in sources.items():  # what is found for a layer is found for those of the same shape
        yield from (rule._replace(sources=(key,)) for rule in _of_one(size, shape, kind, gates))


@functools.lru_cache(2048)
def _of_one(size: Shape, shape: Shape, kind: str, gates: bool) -> tuple[Rule, ...]:
    return tuple(_rules({"": size}, shape, kind, gates))


def _rules(sources: Shapes, shape: Shape, kind: str, gates: bool) -> Iterator[Rule]:
    parts = [_plain, _flipped, joins.summed, joins.joined, blocks.taken, blocks.offset, blocks.padded, _stacked, *LAST]
    if kind == "conv_transpose":
        parts[:2] = [_flipped, _plain]
    if kind == "embedding":
        parts = [part for part in parts if part not in LAST]
    if gates:
        parts.insert(1, joins.gates)
    found = _distinct(sources, shape, [_in_turn(part, sources, shape) for part in parts])
    yield from itertools.islice(found, max(LIMIT, LIMIT_EACH * len(sources)))


def _in_turn(part: Part, sources: Shapes, shape: Shape) -> Iterator[Rule]:
    """Yield the rules of one source each in turn, so that none is left out for many of another."""
    if part not in SINGLE:
        yield from part(sources, shape)
        return
    for group in itertools.zip_longest(*(part({key: size}, shape) for key, size in sources.items())):
        yield from (rule for rule in group if rule is not None)


def _distinct(sources: Shapes, shape: Shape, parts: Iterable[Iterator[Rule]]) -> Iterator[Rule]:
    """Yield the rules that fit and have an effect of their own."""
    seen: set[object] = set()
    most = max(PART, PART_EACH * len(sources))
    for part in parts:
        count = 0
        for rule in part:
            effect = _effect(rule, sources, shape)
            if effect is None or effect in seen:
                continue
            seen.add(effect)
            yield rule
            count += 1
            if count == most:
                break


def _effect(rule: Rule, sources: Shapes, shape: Shape) -> object:
    """Return something that is equal for rules of equal effect; None if the rule does not fit."""
    try:
        if rule.shape(sources) != shape:
            return None
        if np.prod(shape, dtype=np.int64) > SAMPLED:
            return rule
        table = rule.table(sources)
    except CopyError:
        return None
    indices, constant = table.indices, table.constant
    if constant.size > COMPARED:
        some = np.random.default_rng(0).integers(constant.size, size=SAMPLES)
        indices, constant = np.stack([index.flat[some] for index in indices]), constant.flat[some]
    return _signature(rule, indices, constant, sources)


def _signature(rule: Rule, indices: np.ndarray, constant: np.ndarray, sources: Shapes) -> object:
    """Return the indices with those of several sources in the order of their names."""
    keys = tuple(dict.fromkeys(rule.sources))
    if list(keys) != sorted(keys):
        sizes = {key: int(np.prod(sources[key], dtype=np.int64)) for key in keys}
        starts = dict(
            zip(sorted(keys), itertools.accumulate([0, *(sizes[key] for key in sorted(keys))]), strict=False)
        )
        moved = np.concatenate([np.arange(sizes[key], dtype=indices.dtype) + starts[key] for key in keys])
        indices = np.where(indices < 0, indices, moved[indices])
    indices = np.sort(indices, axis=0) if len(indices) > 1 else indices
    return tuple(sorted(keys)), hash(indices.tobytes()), hash(constant.tobytes()) if constant.any() else 0


def _plain(sources: Shapes, shape: Shape) -> Iterator[Rule]:
    for key, size in sources.items():
        for pattern in patterns(size, shape):
            yield Rule((key,), (pattern,) if pattern else ())


def _flipped(sources: Shapes, shape: Shape) -> Iterator[Rule]:
    """Yield kernels of convolutions with their window flipped, and scales that are stored less or plus one."""
    for key, size in sources.items():
        if len(size) <= 2 and np.prod(size) == max(size, default=1):
            for step, pattern in itertools.product(("add -1", "add 1"), patterns(size, shape)):
                yield Rule((key,), (*([pattern] if pattern else []), step))
        if len(size) < 3:
            continue
        window = " ".join(map(str, range(2, len(size))))
        for pattern in patterns(size, shape):
            yield Rule((key,), (f"flip {window}", *([pattern] if pattern else [])))
        yield from _grouped_transposed(key, size, shape, window)
        if size[1] == 3:  # blue, green, red
            for pattern in patterns(size, shape):
                yield Rule((key,), ("flip 1", *([pattern] if pattern else [])))


def _grouped_transposed(key: str, size: Shape, shape: Shape, window: str) -> Iterator[Rule]:
    """Yield kernels of grouped transposed convolutions, (g i) o in PyTorch and i (g o) in JAX's convolutions."""
    axes = "hwd"[: len(size) - 2]
    names = " ".join(axes)
    for groups in range(2, size[0] + 1):
        if size[0] % groups:
            continue
        for target in (f"{names} i (g o)", f"(g o) i {names}", f"{names} (g o) i", f"i (g o) {names}"):
            step = f"(g i) o {names} -> {target} | g={groups}"
            for rule in (Rule((key,), (f"flip {window}", step)), Rule((key,), (step,))):
                if rule.shape({key: size}) == shape:
                    yield rule


def _stacked(sources: Shapes, shape: Shape) -> Iterator[Rule]:
    yield from stacked(sources, shape, rules)


SINGLE = (_plain, _flipped, blocks.taken, blocks.offset, blocks.padded, blocks.rearranged, blocks.taken_rearranged)
