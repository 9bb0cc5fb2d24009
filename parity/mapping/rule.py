"""A rule: a small program that makes one array of a JAX model from tensors of a PyTorch module.

The same program runs on indices in place of numbers. This gives every rule as a table,

    leaf.flat[n] = sum over terms of source.flat[index[term, n]] + constant.flat[n]

from which the adjoint and the inverse follow without a line per step.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from data.registry import nearest
from experiment.weights.layout import CopyError
from parity.mapping.steps import Step, parse

Shapes = Mapping[str, tuple[int, ...]]
Array = TypeVar("Array")
NONE = -1  # an index: no source's number
TABLES, SMALL = 256, 2**16  # tables that are kept, of up to so many elements


class Rule(NamedTuple):
    """How one leaf is made from PyTorch's tensors."""

    sources: tuple[str, ...]  # keys of the state_dict
    steps: tuple[str, ...] = ()  # see `parity.mapping.steps`

    def __call__(self, state: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the leaf.

        Raises:
            CopyError: a source is missing, or a step does not fit.
        """
        stack = [np.asarray(state[key]) for key in self._known(state)]
        return np.array(_run(self, stack, _NUMBERS), order="C")

    @property
    def is_permutation(self) -> bool:
        """Whether the leaf is one tensor with its axes moved: it holds each number once, and no other."""
        steps = map(parse, self.steps)
        return len(self.sources) == 1 and all(s.word == "pattern" and s.args[0] == "rearrange" for s in steps)

    def shape(self, shapes: Shapes) -> tuple[int, ...]:
        """Return the leaf's shape.

        Raises:
            CopyError: as for a call.
        """
        stack = [np.broadcast_to(np.zeros((), np.int8), shapes[key]) for key in self._known(shapes)]
        return _run(self, stack, _NUMBERS).shape

    def back(self, leaf_gradient: np.ndarray, shapes: Shapes) -> dict[str, np.ndarray]:
        """Return the adjoint: a gradient of the leaf as gradients of its sources."""
        table, gradient = self.table(shapes), np.asarray(leaf_gradient)
        flat = np.zeros(table.size, gradient.dtype)
        if self.is_permutation:
            flat[table.indices[0]] = self._fits(gradient, table)
            return self._split(flat, shapes)
        for index in table.indices:
            held = index != NONE
            np.add.at(flat, index[held], self._fits(gradient, table)[held])
        return self._split(flat, shapes)

    def inverse(self, leaf: np.ndarray, shapes: Shapes, *, sums: bool = False) -> dict[str, np.ndarray]:
        """Return the sources that make a leaf; elements that the leaf does not hold are NaN.

        Args:
            leaf: the leaf's numbers.
            shapes: of the sources.
            sums: give a sum to its first source, and 0 to the others.

        Raises:
            CopyError: the leaf is a sum of sources, holds different numbers for one element of a source, or lacks
                some where there is no NaN.
        """
        numbers, held = self.spread(leaf, shapes, sums=sums)
        for key, array in numbers.items():
            if held[key].all():
                continue
            if array.dtype.kind in "biu":
                count = f"{held[key].sum()} of {array.size}"
                raise CopyError(f"'{key}': the leaf holds only {count} elements, and integers have no NaN")
            array[~held[key]] = np.nan
        return numbers

    def spread(
        self, leaf: np.ndarray, shapes: Shapes, *, sums: bool = False
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Return the sources that make a leaf, 0 where it does not hold an element, and where it does.

        Raises:
            CopyError: as for `inverse`.
        """
        table, leaf = self.table(shapes), np.asarray(leaf)
        if self.is_permutation:
            flat = np.zeros(table.size, leaf.dtype)
            flat[table.indices[0]] = self._fits(leaf, table)
            return self._split(flat, shapes), self._split(np.ones(table.size, bool), shapes)
        if not sums and np.any(np.sum(table.indices != NONE, axis=0) > 1):
            raise CopyError(f"{', '.join(self.sources)}: the leaf is their sum, which cannot be taken apart")
        leaf = self._fits(leaf, table)
        numbers = leaf - table.constant.astype(leaf.dtype) if table.constant.any() else leaf
        flat, filled = np.zeros(table.size, leaf.dtype), np.zeros(table.size, bool)
        taken = np.zeros(table.constant.shape, bool)
        for index in table.indices:
            held = index != NONE
            first = held & ~taken
            where, given = (index, numbers) if first.all() else (index[first], numbers[first])
            flat[where], filled[index[held]] = given, True
            if not np.array_equal(flat[where], given, equal_nan=True):
                raise CopyError(f"{', '.join(self.sources)}: the leaf has copies of an element that differ")
            taken |= held
        return self._split(flat, shapes), self._split(filled, shapes)

    def table(self, shapes: Shapes) -> "Table":
        """Return the rule as indices into its sources, one behind the other."""
        sizes = tuple(tuple(shapes[key]) for key in self._known(shapes))
        small = sum(int(np.prod(size, dtype=np.int64)) for size in sizes) <= SMALL
        return (_table if small else _table.__wrapped__)(self, sizes)

    def _known(self, state: Mapping[str, Any]) -> tuple[str, ...]:
        if missing := [key for key in self.sources if key not in state]:
            more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
            raise CopyError(f"there is no tensor '{missing[0]}'{more}.{nearest(missing[0], state)}")
        return self.sources

    def _fits(self, leaf: np.ndarray, table: "Table") -> np.ndarray:
        if leaf.shape != table.constant.shape:
            raise CopyError(f"the leaf of {', '.join(self.sources)} is {leaf.shape}, expected {table.constant.shape}")
        return leaf

    def _split(self, flat: np.ndarray, shapes: Shapes) -> dict[str, np.ndarray]:
        found, start = {}, 0
        for key in dict.fromkeys(self.sources):
            stop = start + int(np.prod(shapes[key], dtype=np.int64))
            found[key] = flat[start:stop].reshape(shapes[key])
            start = stop
        return found


class Table(NamedTuple):
    """A rule as indices: the sum over the first axis of the sources' numbers at `indices`, plus `constant`."""

    indices: np.ndarray  # (terms, *leaf's shape); NONE: no number
    constant: np.ndarray  # leaf's shape
    size: int  # of all sources


class _Numbers:
    """What steps do to arrays."""

    def move(self, run: Callable[..., Any], value: np.ndarray) -> np.ndarray:
        return run(value)

    def join(self, run: Callable[..., Any], values: Sequence[np.ndarray]) -> np.ndarray:
        return run(values)

    def sum(self, run: Callable[..., Any], values: Sequence[np.ndarray]) -> np.ndarray:
        return run(values)

    def add(self, run: Callable[..., Any], value: np.ndarray) -> np.ndarray:
        return value + run(value.shape).astype(value.dtype)

    def blank(self, run: Callable[..., Any], value: np.ndarray) -> np.ndarray:
        return np.where(run(value.shape), np.zeros((), value.dtype), value)

    def pad(self, run: Callable[..., Any], value: np.ndarray) -> np.ndarray:
        return run(value, 0)

    def shape(self, value: np.ndarray) -> tuple[int, ...]:
        return value.shape


class _Terms(NamedTuple):
    indices: list[np.ndarray]
    constant: np.ndarray


class _Indices:
    """What steps do to indices."""

    def move(self, run: Callable[..., Any], value: _Terms) -> _Terms:
        return _Terms([run(index) for index in value.indices], run(value.constant))

    def join(self, run: Callable[..., Any], values: Sequence[_Terms]) -> _Terms:
        count = max(len(value.indices) for value in values)
        padded = [[*v.indices, *[np.full_like(v.indices[0], NONE)] * (count - len(v.indices))] for v in values]
        return _Terms([run(terms) for terms in zip(*padded, strict=True)], run([v.constant for v in values]))

    def sum(self, run: Callable[..., Any], values: Sequence[_Terms]) -> _Terms:
        return _Terms([index for value in values for index in value.indices], run([v.constant for v in values]))

    def add(self, run: Callable[..., Any], value: _Terms) -> _Terms:
        return value._replace(constant=value.constant + run(value.constant.shape))

    def blank(self, run: Callable[..., Any], value: _Terms) -> _Terms:
        mask = run(value.constant.shape)
        return _Terms([np.where(mask, NONE, index) for index in value.indices], np.where(mask, 0.0, value.constant))

    def pad(self, run: Callable[..., Any], value: _Terms) -> _Terms:
        return _Terms([run(index, NONE) for index in value.indices], run(value.constant, 0))

    def shape(self, value: _Terms) -> tuple[int, ...]:
        return value.constant.shape


_NUMBERS, _INDICES = _Numbers(), _Indices()


@functools.lru_cache(TABLES)
def _table(rule: Rule, shapes: tuple[tuple[int, ...], ...]) -> Table:
    places, start = {}, 0
    by_key = dict(zip(rule.sources, shapes, strict=True))
    total = sum(int(np.prod(shape, dtype=np.int64)) for shape in by_key.values())
    dtype = np.int32 if total < 2**31 else np.int64
    for key, shape in by_key.items():
        size = int(np.prod(shape, dtype=np.int64))
        places[key] = np.arange(start, start + size, dtype=dtype).reshape(shape)
        start += size
    stack = [_Terms([places[key]], np.broadcast_to(np.zeros(()), by_key[key])) for key in rule.sources]
    found = _run(rule, stack, _INDICES)
    return Table(np.stack(found.indices), found.constant, total)


def _run(rule: Rule, stack: list[Any], how: Any) -> Any:
    """Run the steps on a stack of arrays, which must leave one."""
    for step in map(parse, rule.steps):
        try:
            stack = _apply(step, stack, how)
        except (ValueError, IndexError) as error:
            shapes = " ".join(dict.fromkeys(str(how.shape(value)) for value in stack))
            why = [line.strip() for line in str(error).splitlines() if line.strip()][-1]
            raise CopyError(f"{', '.join(rule.sources)}: step '{step.text}' does not fit {shapes}: {why}") from None
    if len(stack) != 1:
        raise CopyError(f"{', '.join(rule.sources)}: {len(stack)} arrays are left; join them by concat, stack or sum")
    return stack[0]


def _apply(step: Step, stack: list[Any], how: Any) -> list[Any]:
    act = getattr(how, step.kind)
    if step.kind in ("join", "sum"):
        by = step.by or len(stack)
        if not stack or len(stack) % by:
            raise ValueError(f"{len(stack)} arrays are not groups of {by}")
        return [act(step.run, stack[start : start + by]) for start in range(0, len(stack), by)]
    if step.only is None:
        return [act(step.run, value) for value in stack]
    number, of = step.only
    if len(stack) % of:
        raise ValueError(f"{len(stack)} arrays are not groups of {of}")
    return [act(step.run, value) if n % of == number else value for n, value in enumerate(stack)]
