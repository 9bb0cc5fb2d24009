"""Inputs as they are given: fitted to a side's names, moved into its layout; neither framework is imported."""

import difflib
import inspect
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from data.errors import UserError
from parity.sides.draw import Inputs
from parity.sides.numbers import is_array, is_float, to_numpy, tree_map

# How inputs are given: as both sides take them; channels last, and PyTorch, or both sides, take them first; channels
# first, and JAX takes them last.
SAME, LAST, FIRST, BOTH = LAYOUTS = "same", "channels-last", "channels-first", "channels-last-moved"
WORDS = {
    LAST: "channels last as given for JAX, moved first for PyTorch",
    FIRST: "channels first as given for PyTorch, moved last for JAX",
    BOTH: "channels last as given, moved first for both sides",
}


def normalised(inputs: Any) -> Inputs:
    """Return an array, a tuple, a dict, or a pair of both, as positional inputs and inputs by name."""
    if inputs is None:
        raise UserError("no inputs are given: expected an array, a tuple of arrays, or a dict by name")
    if isinstance(inputs, Inputs):
        args, kwargs = inputs
    elif isinstance(inputs, Mapping):
        args, kwargs = (), inputs
    elif isinstance(inputs, tuple | list):
        args, kwargs = inputs, {}
    else:
        args, kwargs = (inputs,), {}
    # One by one: a mapped dict would be in alphabetic order.
    return Inputs(tuple(_as_numpy(a) for a in args), {name: _as_numpy(a) for name, a in kwargs.items()})


def _as_numpy(value: Any) -> Any:
    return tree_map(lambda a: to_numpy(a) if is_array(a) else a, value)


def fitted(given: Inputs, names: Mapping[str, inspect.Parameter], side: str) -> tuple[Inputs, list[str]]:
    """Return inputs by the names that a side has for them, and what is said of it.

    A name that differs slightly is matched; then, in order, those that are left on both sides; the rest is left out.
    """
    kinds = {p.kind for p in names.values()}
    if not given.kwargs or not names:
        return given, []
    if inspect.Parameter.VAR_POSITIONAL in kinds and not _named(names):
        return Inputs((*given.args, *given.kwargs.values()), {}), []
    free = _named(names)[len(given.args) :]
    kwargs = {n: a for n, a in given.kwargs.items() if n in free}
    left = [n for n in given.kwargs if n not in kwargs]
    open_ = [n for n in free if n not in kwargs]
    notes = []
    for test in (_alike, lambda _name, other: names[other].default is inspect.Parameter.empty):
        for name in list(left):
            fits = [n for n in open_ if test(name, n)]
            if len(fits) == (1 if test is _alike else len(left)):
                kwargs[fits[0]] = given.kwargs[name]
                left.remove(name)
                open_.remove(fits[0])
                notes.append(f"{name} is {fits[0]} for {side}")
    if inspect.Parameter.VAR_KEYWORD in kinds and not _named(names):
        return Inputs(given.args, kwargs | {n: given.kwargs[n] for n in left}), notes
    if left:
        notes.append(f"{side} does not take {', '.join(left)}, which is left out")
    return Inputs(given.args, kwargs), notes


def _named(names: Mapping[str, inspect.Parameter]) -> list[str]:
    return [n for n, p in names.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]


def _alike(a: str, b: str) -> bool:
    plain = [n.lower().replace("_", "").rstrip("s") for n in (a, b)]
    short, long = sorted(plain, key=len)
    return (len(short) > 3 and short in long) or difflib.SequenceMatcher(None, short, long).ratio() > 0.85


def arrays(inputs: Inputs) -> dict[str, np.ndarray]:
    """Return the arrays of inputs by name, or by number."""
    both = {str(i): a for i, a in enumerate(inputs.args)} | inputs.kwargs
    return {n: a for n, a in both.items() if isinstance(a, np.ndarray)}


def forced(layout: str | None, name: str) -> str | None:
    """Return the layout that a user gives for an input, "image=channels-last,text=same", or None."""
    if layout is None:
        return None
    parts = {part.rpartition("=")[0]: part.rpartition("=")[2] for part in layout.split(",")}
    wrong = [value for value in parts.values() if value not in LAYOUTS]
    if wrong:
        raise UserError(f"--layout {layout}: '{wrong[0]}' is none of {', '.join(LAYOUTS)}")
    return parts.get(name, parts.get(""))


def moved(inputs: Inputs, chosen: Mapping[str, str], when: Sequence[str], move: Any) -> Inputs:
    """Return inputs, those of some layouts moved."""
    args = tuple(move(a) if chosen.get(str(i)) in when else a for i, a in enumerate(inputs.args))
    return Inputs(args, {n: move(a) if chosen.get(n) in when else a for n, a in inputs.kwargs.items()})


def channels_first(array: np.ndarray) -> np.ndarray:
    """Return an array with its last axis second."""
    return np.ascontiguousarray(np.moveaxis(array, -1, 1))


def channels_last(array: np.ndarray) -> np.ndarray:
    """Return an array with its second axis last."""
    return np.ascontiguousarray(np.moveaxis(array, 1, -1))


def said(chosen: Mapping[str, str]) -> list[str]:
    """Return the layouts in words."""
    moved = {name: WORDS[way] for name, way in chosen.items() if way != SAME}
    if len(chosen) == 1 or not moved:
        return [next(iter(moved.values()), "both sides take the inputs as they are given")]
    return [f"{f'input {name}' if name.isdecimal() else name}: {words}" for name, words in moved.items()]


def choices(shapes: Mapping[str, Any], convolves_first: bool, layout: str | None) -> Iterator[dict[str, str]]:
    """Yield a layout for each input, the most usual first.

    Args:
        shapes: arrays by name.
        convolves_first: whether the first layer takes sequences with their channels first.
        layout: what a user says of it, or None.
    """
    options = {name: _options(array, convolves_first, forced(layout, name)) for name, array in shapes.items()}
    every = itertools.product(*(range(len(o)) for o in options.values()))
    for numbers in sorted(every, key=lambda n: (sum(n), n)):
        yield {name: o[i] for (name, o), i in zip(options.items(), numbers, strict=True)}


def _options(array: np.ndarray, convolves_first: bool, forced: str | None) -> Sequence[str]:
    if array.ndim not in (3, 4, 5) or not is_float(array):
        return (SAME,)
    if forced:
        return (forced,)
    if array.ndim > 3 or convolves_first:
        return LAST, SAME, FIRST, BOTH
    return SAME, LAST, FIRST, BOTH
