"""Arrays of any library, the names of a tree's leaves, and 64 bits."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch


def x64() -> Any:
    """Return a context in which JAX has 64 bits, and its products no less than full precision (trap 19)."""
    return jax.enable_x64(True)


def is_array(value: Any) -> bool:
    """Return whether a value is an array of numbers of JAX (a traced one, too), NumPy or PyTorch; a key is not."""
    if isinstance(value, jax.Array):
        return not jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
    return isinstance(value, np.ndarray | np.generic | torch.Tensor)


def is_float(array: Any) -> bool:
    """Return whether an array holds real or complex numbers, not integers or booleans."""
    if isinstance(array, torch.Tensor):
        return array.is_floating_point() or array.is_complex()
    return jnp.issubdtype(array.dtype, jnp.inexact)


def to_numpy(array: Any) -> np.ndarray:
    """Return a copy as numpy, also of bfloat16 and of tensors that want a gradient (trap 22)."""
    if isinstance(array, torch.Tensor):
        array = array.detach().cpu().resolve_conj().resolve_neg()
        array = (array.float() if array.dtype == torch.bfloat16 else array).numpy()
    return np.array(array)


def wide(array: Any) -> np.ndarray:
    """Return a copy as numpy: real numbers in float64, complex ones in complex128, all others as they are."""
    if isinstance(array, torch.Tensor) or not is_float(array):
        array = to_numpy(array)
    if not is_float(array):
        return np.array(array)
    return np.array(array, np.complex128 if jnp.issubdtype(array.dtype, jnp.complexfloating) else np.float64)


def narrow(array: Any, like: Any) -> Any:
    """Return an array in the dtype of another, unless it has it."""
    return array if array.dtype == like.dtype else array.astype(like.dtype)


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


def unique(pairs: Iterable[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Return pairs of a name and a value, names that occur before numbered: "w", "w#1"."""
    seen: dict[str, int] = {}
    found = []
    for name, value in pairs:
        number = seen[name] = seen.get(name, -1) + 1
        found.append((f"{name}#{number}" if number else name, value))
    return found


def abstract(values: Any) -> Any:
    """Return a tree with its arrays as shapes and dtypes, for `jax.eval_shape`; call it under `x64`."""
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct(np.shape(a), jnp.result_type(a)) if is_array(a) else a, values)


def split_arrays(tree: Any) -> tuple[list[Any], Any]:
    """Return the arrays of a tree, and a function that puts others in their place."""
    leaves, treedef = jax.tree.flatten(tree)
    slots = [i for i, leaf in enumerate(leaves) if is_array(leaf)]

    def filled(arrays: Iterable[Any]) -> Any:
        new = list(leaves)
        for slot, array in zip(slots, arrays, strict=True):
            new[slot] = array
        return jax.tree.unflatten(treedef, new)

    return [leaves[i] for i in slots], filled


def to_jax(tree: Any) -> Any:
    """Return a tree with its arrays as JAX's, as some modules refuse numpy's."""
    return jax.tree.map(
        lambda a: jnp.asarray(to_numpy(a)) if is_array(a) and not isinstance(a, jax.Array) else a, tree
    )


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield those of the leaves that another array has taken the place of."""
    for name, value in after.items():
        if name in before and value is not before[name]:
            yield name, value
