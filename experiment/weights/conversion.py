"""Copying weights between PyTorch and Flax by name: one rename, one transpose rule, numpy alone.

A layer has the same name on both sides, so the path follows from the key, and the rank decides the rest:

    layer1.0.conv.weight  (O, I, H, W)  ->  params / layer1_0 / conv / kernel  (H, W, I, O)
    bn1.running_var       (C,)          ->  batch_stats / bn1 / var            (C,)

Going back, the PyTorch module's own keys are the template, so the inverse is exact. Nothing is ever matched by
order, reshaped to fit, or truncated (trap 24): what is missing, unexpected or of another shape is an error that counts
all of it. Weights from a file are not rounded, either: half precision is widened, which is exact; a float64 value that
float32 cannot hold is a fault like another shape.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from experiment.weights.causes import likely_cause
from experiment.weights.layout import LEAVES, CopyError, Layout, by_path, layer_path, layouts
from experiment.weights.small_floats import ml_dtypes

INTEGERS, FLOATS = ("int", "uint"), ("float", "bfloat")
COUNTS = {"int32", "int64"}
SHOWN = 5  # tensors in an error's one line
COUNTER = "num_batches_tracked"  # PyTorch's bookkeeping; Flax's own BatchNorm has no such tensor


def to_flax(source: Any) -> dict[str, Any]:
    """Return Flax's variables, {"params": ..., "batch_stats": ...}, of a PyTorch module or of its `state_dict()`.

    Args:
        source: a module, or keys to tensors or arrays; a module also tells which of its layers are embeddings or
            transposed convolutions.

    Returns:
        A nested dict of new numpy arrays, of the same dtypes.

    Raises:
        CopyError: a key follows no rule, or two keys would land in one place.
    """
    tensors = source.state_dict() if hasattr(source, "state_dict") else source
    return unflatten({path: way.to_flax(as_array(tensors[key])) for path, key, way in by_path(layouts(source))})


def to_torch(variables: Mapping[str, Any], module: Any) -> dict[str, Any]:
    """Return the `state_dict` for a PyTorch `module` that Flax's `variables` stand for.

    Args:
        variables: nested dict with "params" and, with BatchNorm, "batch_stats".
        module: the module, or its `state_dict()`; its keys, shapes and dtypes are the template.

    Returns:
        The module's keys, to tensors where the template holds tensors, else to arrays. A counter of batches
        that `variables` do not have, as Flax's own BatchNorm does not, keeps the module's value.

    Raises:
        CopyError: anything is missing, left over, or of another shape; counts all and names the first few.
    """
    template = module.state_dict() if hasattr(module, "state_dict") else module
    found, extra = _by_key(flatten(variables), layouts(module))
    counters = {key: as_array(template[key]) for key in template if key.endswith(COUNTER)}
    found = counters | found
    _require_same(found, template, extra)
    return {key: _like(found[key], tensor) for key, tensor in template.items()}


def variables_from_weights(
    weights: Mapping[str, np.ndarray], template: Mapping[str, Any], head: str = ""
) -> dict[str, Any]:
    """Return the Flax variables that a weight file stands for, whichever framework wrote it.

    A file without a single counter of batches (old PyTorch's, Flax's own BatchNorm's) leaves the template's.

    Args:
        weights: as stored: paths with "/" come from Flax, keys with "." from PyTorch.
        template: the network's own variables, for names, shapes and dtypes.
        head: PyTorch's name of a layer that keeps the template's values; the file's are left out.

    Raises:
        CopyError: anything is missing, left over, of another shape, or would be rounded, or an integer too
            large for the template's; counts all and names the first few.
    """
    given = _without(weights, head)
    own = dict(leaves(template))
    flat, extra = given, {}
    if not is_flax(weights):
        extra = {key: array for key, array in given.items() if key.rpartition(".")[2] not in ("weight", *LEAVES)}
        flat = dict(leaves(to_flax({key: array for key, array in given.items() if key not in extra})))
    copied = _matched(flat, extra, _without(own, head))
    return unflatten({path: copied.get(path, array) for path, array in own.items()})


def state_dict_from_weights(
    weights: Mapping[str, np.ndarray], template: Mapping[str, Any], head: str = ""
) -> dict[str, Any]:
    """Return the PyTorch state_dict that a weight file stands for, whichever framework wrote it.

    Args:
        weights: as stored: paths with "/" come from Flax, keys with "." from PyTorch.
        template: the network's own state_dict, for keys, shapes and dtypes.
        head: as for `variables_from_weights`, and so are counters that the file lacks.

    Raises:
        CopyError: as `variables_from_weights`.
    """
    given, expected = _without(weights, head), _without(template, head)
    found, extra = _by_key(given, layouts(expected)) if is_flax(weights) else (given, {})
    copied = _matched(found, extra, expected)
    return {key: copied.get(key, tensor) for key, tensor in template.items()}


def belongs(name: str, layer: str) -> bool:
    """Tell whether a stored tensor, named by either framework, is of the layer that PyTorch calls `layer`."""
    if "/" not in name:
        return name.startswith(f"{layer}.")
    # A layer of PyTorch's with numbered parts, fc.0, is many layers of Flax's: fc_0.
    return bool(re.match(rf"{re.escape(layer_path(layer))}(_\d+)*/", name.partition("/")[2]))


def is_flax(weights: Mapping[str, Any]) -> bool:
    """Tell a stored Flax file, "params/fc1/kernel", from a PyTorch one, "fc1.weight"."""
    return any("/" in name for name in weights)


def flatten(variables: Mapping[str, Any], prefix: str = "") -> dict[str, np.ndarray]:
    """Return nested variables as {"params/fc1/kernel": array}; the arrays are copies (trap 22)."""
    return {path: as_array(leaf) for path, leaf in leaves(variables, prefix)}


def leaves(variables: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield ("params/fc1/kernel", leaf) of nested variables; the leaves are as they are, not copies."""
    for name, value in variables.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{name}/")
        else:
            yield prefix + name, value


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return {"params/fc1/kernel": array} as nested variables."""
    nested: dict[str, Any] = {}
    for path, array in flat.items():
        *parents, leaf = path.split("/")
        node = nested
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = array
    return nested


def as_array(tensor: Any) -> np.ndarray:
    """Return a copy as numpy; `tensor.numpy()` alone would share the module's memory and change under us (trap 22)."""
    if hasattr(tensor, "detach"):
        tensor = tensor.detach().cpu().numpy()
    return np.array(tensor)


def _like(array: np.ndarray, template: Any) -> Any:
    array = np.array(array, order="C")  # plain strides, as PyTorch's own; np.ascontiguousarray would lose rank 0
    if hasattr(template, "new_tensor"):
        return template.new_tensor(array)
    return array.astype(template.dtype, copy=False)  # it is a copy already


def _without(tensors: Mapping[str, Any], layer: str) -> dict[str, Any]:
    return {name: tensor for name, tensor in tensors.items() if not (layer and belongs(name, layer))}


def _by_key(flat: Mapping[str, Any], places: Mapping[str, Layout]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return Flax's tensors by PyTorch's keys, in its layout; and those that it has no key for."""
    found = {key: way.to_torch(flat[way.path]) for key, way in places.items() if way.path in flat}
    return found, {path: flat[path] for path in sorted(flat.keys() - {way.path for way in places.values()})}


def _matched(found: dict[str, Any], extra: Mapping[str, Any], template: Mapping[str, Any]) -> dict[str, Any]:
    """Return `found` in the template's dtypes and order, once nothing of it would be lost or rounded."""
    if not any(name.endswith(COUNTER) for name in found):
        found = found | {name: as_array(template[name]) for name in template if name.endswith(COUNTER)}
    left = {name: found[name] for name in sorted(found.keys() - template.keys())}
    _require_same(found, template, {**extra, **left}, exact=True)
    return {name: _like(_widened(found[name], tensor), tensor) for name, tensor in template.items()}


def _widened(array: np.ndarray, template: Any) -> np.ndarray:
    """Return an array in the template's floating dtype; PyTorch takes no bfloat16 of numpy's."""
    with np.errstate(invalid="ignore"):  # a signalling NaN is a NaN
        return array.astype(_numpy(template)) if _both_float(array, template) else array


def _require_same(
    found: Mapping[str, Any], template: Mapping[str, Any], extra: Mapping[str, Any], *, exact: bool = False
) -> None:
    missing = [f"missing {name} {tuple(template[name].shape)}" for name in template if name not in found]
    # A file's own names may hold anything; what is printed is one line.
    unexpected = [f"unexpected {n if n.isprintable() else ascii(n)} {tuple(a.shape)}" for n, a in extra.items()]
    pairs = [(name, array, template[name]) for name, array in found.items() if name in template]
    other = [f"{name} {fault}" for name, *pair in pairs if (fault := _difference(*pair, exact=exact))]
    rounded = any(_would_round(array, wanted) for _, array, wanted in pairs)
    if not (count := len(missing) + len(unexpected) + len(other)):
        return
    tensors = f"{count} tensors do" if count > 1 else "1 tensor does"
    shown = "; ".join(_first(missing, unexpected, other))
    if count > SHOWN:
        shapes = {name: (array.shape, wanted.shape) for name, array, wanted in pairs if array.shape != wanted.shape}
        own = [name for name in template if not name.endswith(COUNTER)]
        names = [name for name in own if name not in found]
        cause = likely_cause(names, {n: tuple(a.shape) for n, a in extra.items()}, shapes, len(own))
        shown += f"; and {count - SHOWN} more" + (f"; likely cause: {cause}" if cause else "")
    advice = "; nothing is rounded silently: cast them and save them anew" if exact and rounded else ""
    raise CopyError(f"{tensors} not match: {shown}{advice}")


def _first(*lists: list[str]) -> list[str]:
    """Return the first few lines, of every list some."""
    turns = [(at, which) for which, lines in enumerate(lists) for at in range(min(len(lines), SHOWN))]
    chosen = set(sorted(turns)[:SHOWN])
    return [line[:200] for which, lines in enumerate(lists) for at, line in enumerate(lines) if (at, which) in chosen]


def _dtype(tensor: Any) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _numpy(tensor: Any) -> np.dtype:
    name = _dtype(tensor)
    return np.dtype(getattr(ml_dtypes, name) if hasattr(ml_dtypes, name) else name)


def _both_float(array: Any, template: Any) -> bool:
    return all(_dtype(one).startswith(FLOATS) for one in (array, template))


def _would_round(array: Any, template: Any) -> bool:
    """Tell whether another dtype loses something; half widened to float32 does not."""
    if _dtype(array) == _dtype(template):
        return False
    if _both_float(array, template):
        return not _is_exact(array, _numpy(template))
    # JAX counts in int32 where PyTorch has int64; any other change of dtype loses something.
    return not all(_dtype(one).startswith(INTEGERS) for one in (array, template))


def _is_exact(array: np.ndarray, dtype: np.dtype) -> bool:
    """Tell whether a floating dtype can hold every value: always if it is wider, else by the values."""
    ours, theirs = ml_dtypes.finfo(array.dtype), ml_dtypes.finfo(dtype)
    if theirs.nmant >= ours.nmant and theirs.maxexp >= ours.maxexp and theirs.minexp <= ours.minexp:
        return True
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        return np.array_equal(array.astype(dtype).astype(array.dtype), array, equal_nan=True)


def _difference(array: Any, template: Any, *, exact: bool) -> str:
    ours, theirs = _dtype(array), _dtype(template)
    shapes = tuple(array.shape), tuple(template.shape)
    if exact and ours != theirs and shapes[0] != shapes[1] and not {ours, theirs} <= COUNTS:
        return f"is {shapes[0]} {ours}, expected {shapes[1]} {theirs}"
    if shapes[0] != shapes[1]:
        return f"is {shapes[0]}, expected {shapes[1]}"
    if exact and _would_round(array, template):
        return f"is {ours}, expected {theirs}"
    if exact and ours != theirs and ours.startswith(INTEGERS) and not (array == array.astype(theirs)).all():
        return f"holds {array.max()}, more than {theirs} can"
    return ""


def dtype_note(weights: Mapping[str, np.ndarray], template: Mapping[str, Any]) -> str:
    """Return a note about weights whose floating dtype is not the network's ("" if there are none)."""
    own = {str(array.dtype) for array in template.values() if str(array.dtype).startswith(FLOATS)}
    found = Counter(str(array.dtype) for array in weights.values() if str(array.dtype).startswith(FLOATS))
    if len(own) != 1:
        return ""
    (wanted,) = own
    counts = [f"{count} tensors of {dtype}" for dtype, count in found.items() if dtype != wanted]
    return f"; {' and '.join(counts)} became {wanted}, exactly" if counts else ""
