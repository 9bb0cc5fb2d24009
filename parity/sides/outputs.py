"""The leaves of an output of either side, by name, and which of one is which of the other's."""

import dataclasses
import types
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from parity.sides.frameworks import is_a
from parity.sides.numbers import is_array, unique
from parity.sides.pairing import paired

__all__ = ["Leaves", "named_leaves", "paired"]

ONLY = "output"  # the name of an output that is a single array
DEEPEST = 12
SHAPE = "jax:ShapeDtypeStruct"


class Leaves(dict[str, Any]):
    """The arrays of an output by name, "logits", "cache/0/key"; and what is left out, by name, with its type."""

    def __init__(self, arrays: Mapping[str, Any], left_out: Mapping[str, str]):
        super().__init__(arrays)
        self.left_out = dict(left_out)


def named_leaves(output: Any) -> Leaves:
    """Return the arrays of any tree: dicts, tuples, dataclasses, ModelOutput, generators, caches, arrays of objects.

    None, texts, booleans and functions are left out; integers and floats of Python are arrays, but not those that an
    object keeps for itself.
    """
    arrays, others = [], []
    for path, value, inside in _walk(output, (), frozenset(), False):
        name = "/".join(path) or ONLY
        if is_array(value) or is_a(value, SHAPE):
            arrays.append((name, value))
        elif isinstance(value, float | int | complex) and not isinstance(value, bool) and not inside:
            arrays.append((name, np.asarray(value)))
        elif not inside:
            others.append((name, type(value).__name__))
    return Leaves(dict(unique(arrays)), dict(unique(others)))


def _walk(
    value: Any, path: tuple[str, ...], above: frozenset[int], inside: bool
) -> Iterator[tuple[tuple[str, ...], Any, bool]]:
    """Yield every leaf with its path, and whether it is an attribute of an object; what holds itself is left out."""
    final = is_array(value) or is_a(value, SHAPE) or id(value) in above or len(path) > DEEPEST
    children = None if final else _children(value)
    if children is None:
        yield path, value, inside
        return
    inside = inside or _is_object(value)
    for name, child in children:
        yield from _walk(child, (*path, str(name)), above | {id(value)}, inside)


def _is_object(value: Any) -> bool:
    """Return whether the parts of a value are its attributes: of a cache, a distribution."""
    return not isinstance(value, Mapping | tuple | list | Iterator) and not dataclasses.is_dataclass(value)


def _children(value: Any) -> list[tuple[str, Any]] | None:
    """Return the parts of a value by name, or None if it is a leaf."""
    if value is None or isinstance(value, str | bytes | bool | int | float | complex | type | types.FunctionType):
        return None
    if isinstance(value, Mapping):
        return [(str(name), child) for name, child in value.items()]
    if isinstance(value, tuple) and (fields := getattr(value, "_fields", None)):
        return list(zip(fields, value, strict=True))
    if isinstance(value, list | tuple | Iterator):
        return [(str(i), child) for i, child in enumerate(value)]
    if dataclasses.is_dataclass(value):
        return [(f.name, getattr(value, f.name, None)) for f in dataclasses.fields(value)]
    if is_a(value, "torch.nn:Module") or callable(value) or not hasattr(value, "__dict__"):
        return None
    own = [(name.lstrip("_"), child) for name, child in vars(value).items()]
    return own or None
