"""Arrays for JAX, the names of a tree's leaves, and 64 bits."""

import contextlib
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from typing import Any

import jax
import jax.numpy as jnp

from parity.sides.numbers import is_array, is_float, to_numpy, unique, wide

__all__ = [
    "bits",
    "flat_tree",
    "is_array",
    "is_float",
    "is_narrow",
    "joined",
    "narrowed",
    "narrowing",
    "to_jax",
    "to_numpy",
    "unique",
    "wide",
    "x64",
]


def x64() -> Any:
    """Return a context in which JAX has 64 bits, and its products no less than full precision (trap 19)."""
    return jax.enable_x64(True)


@contextlib.contextmanager
def narrowing() -> Iterator[None]:
    """Let the sides that are made meanwhile compute in 32 bits, as their users do."""
    token = _narrow.set(True)
    try:
        yield
    finally:
        _narrow.reset(token)


def is_narrow() -> bool:
    """Return whether sides that are made now compute in 32 bits."""
    return _narrow.get()


_narrow: ContextVar[bool] = ContextVar("narrow", default=False)
NARROWER = {"float64": "float32", "int64": "int32", "uint64": "uint32", "complex128": "complex64"}


@contextlib.contextmanager
def bits(narrow: bool) -> Iterator[None]:
    """Let JAX have 32 bits, or 64."""
    with jax.enable_x64(not narrow):
        yield


def narrowed(tree: Any) -> Any:
    """Return a tree with its arrays in 32 bits."""

    def cast(array: Any) -> Any:
        name = str(array.dtype) if is_array(array) else ""
        return jnp.asarray(array, NARROWER[name]) if name in NARROWER else array

    return jax.tree.map(cast, tree)


def flat_tree(tree: Any) -> list[tuple[str, Any]]:
    """Return the leaves of a tree, None among them, by path: "layers/0/weight"."""
    pairs = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda x: x is None)[0]
    return unique((joined(path), leaf) for path, leaf in pairs)


def joined(path: Iterable[Any]) -> str:
    """Return a path of keys as text."""
    return "/".join(str(part) for key in path if (part := _part(key)) is not None)


def _part(key: Any) -> Any:
    for attribute in ("key", "name", "idx"):
        if hasattr(key, attribute):
            return getattr(key, attribute)
    return key


def to_jax(tree: Any) -> Any:
    """Return a tree with its arrays as JAX's, as some modules refuse numpy's."""
    return jax.tree.map(
        lambda a: jnp.asarray(to_numpy(a)) if is_array(a) and not isinstance(a, jax.Array) else a, tree
    )
