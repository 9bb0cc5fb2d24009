"""Arrays of any library, and trees of them; neither framework is imported."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from parity.sides.frameworks import is_jax_array, is_tensor


def is_array(value: Any) -> bool:
    """Return whether a value is an array of numbers of JAX (a traced one, too), NumPy or PyTorch; a key is not."""
    if isinstance(value, np.ndarray | np.generic) or is_tensor(value):
        return True
    return is_jax_array(value) and not str(value.dtype).startswith("key<")


def is_float(array: Any) -> bool:
    """Return whether an array holds real or complex numbers, not integers or booleans."""
    if is_tensor(array):
        return array.is_floating_point() or array.is_complex()
    return str(getattr(array.dtype, "name", array.dtype)).startswith(("float", "bfloat", "complex"))


def to_numpy(array: Any) -> np.ndarray:
    """Return a copy as numpy, also of bfloat16 and of tensors that want a gradient (trap 22)."""
    if is_tensor(array):
        array = array.detach().cpu().resolve_conj().resolve_neg()
        array = (array.float() if str(array.dtype) == "torch.bfloat16" else array).numpy()
    return np.array(array)


def wide(array: Any) -> np.ndarray:
    """Return a copy as numpy: real numbers in float64, complex ones in complex128, all others as they are."""
    if is_tensor(array) or not is_float(array):
        array = to_numpy(array)
    if not is_float(array):
        return np.array(array)
    return np.array(array, np.complex128 if str(array.dtype).startswith("complex") else np.float64)


def unique(pairs: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Return pairs of a name and a value, names that occur before numbered: "w", "w#1"."""
    seen: dict[str, int] = {}
    found = []
    for name, value in pairs:
        number = seen[name] = seen.get(name, -1) + 1
        found.append((f"{name}#{number}" if number else name, value))
    return found


def tree_map(function: Callable[[Any], Any], tree: Any) -> Any:
    """Return a tree of dicts, lists and tuples with a function of each leaf; names stay in their order."""
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(tree_map(function, child) for child in tree))
    if isinstance(tree, list | tuple):
        return type(tree)(tree_map(function, child) for child in tree)
    if isinstance(tree, Mapping):
        mapped = {name: tree_map(function, child) for name, child in tree.items()}
        return mapped if type(tree) is dict else _like(tree, mapped)
    return function(tree)


def _like(tree: Any, mapped: dict[Any, Any]) -> Any:
    try:
        return type(tree)(mapped)
    except TypeError:
        return mapped


def tree_leaves(tree: Any) -> Iterator[Any]:
    """Yield the leaves of a tree of dicts, lists and tuples, but for None; names as they are sorted."""
    if isinstance(tree, Mapping):
        for name in sorted(tree, key=str):
            yield from tree_leaves(tree[name])
    elif isinstance(tree, list | tuple):
        for child in tree:
            yield from tree_leaves(child)
    elif tree is not None:
        yield tree
