"""Copying weights between PyTorch and Flax by name: one rename, one transpose rule, numpy alone.

A layer has the same name on both sides, so the path follows from the key, and the rank decides the rest:

    layer1.0.conv.weight  (O, I, H, W)  ->  params / layer1_0 / conv / kernel  (H, W, I, O)
    bn1.running_var       (C,)          ->  batch_stats / bn1 / var            (C,)

Going back, the PyTorch module's own keys are the template, so the inverse is exact. Nothing is ever matched by
order, reshaped to fit, or truncated (trap 24): what is missing, unexpected or of another shape is listed, all at once.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from data.registry import UserError

# PyTorch's last part of a key to Flax's collection and name; "weight" is decided by the rank.
LEAVES = {
    "bias": ("params", "bias"),
    "running_mean": ("batch_stats", "mean"),
    "running_var": ("batch_stats", "var"),
    "num_batches_tracked": ("batch_stats", "num_batches_tracked"),
}
COUNTER = "num_batches_tracked"  # PyTorch's bookkeeping; Flax's own BatchNorm has no such tensor


class CopyError(UserError):
    """Two sets of tensors are not the same by name and shape."""


def layer_path(name: str) -> str:
    """Return a PyTorch module's name as Flax's path: "layer1_0/conv1" for "layer1.0.conv1"."""
    return re.sub(r"\.(\d+)(?=\.|$)", r"_\1", name).replace(".", "/")


def flax_path(key: str, ndim: int) -> str:
    """Return where a PyTorch tensor lives in Flax's variables: "params/fc1/kernel" for "fc1.weight".

    Raises:
        CopyError: the key's last part is not one that a layer of PyTorch has.
    """
    *layer, leaf = layer_path(key).split("/")
    if leaf == "weight":
        collection, name = "params", "kernel" if ndim >= 2 else "scale"
    elif leaf in LEAVES:
        collection, name = LEAVES[leaf]
    else:
        raise CopyError(f"no rule for the PyTorch tensor '{key}'; known: weight, {', '.join(LEAVES)}")
    return "/".join((collection, *layer, name))


def to_flax_layout(weight: np.ndarray) -> np.ndarray:
    """Move (out, in, *window) to (*window, in, out); tensors of rank 0 and 1 are the same on both sides (trap 9)."""
    return weight.transpose(*range(2, weight.ndim), 1, 0) if weight.ndim >= 2 else weight


def to_torch_layout(kernel: np.ndarray) -> np.ndarray:
    """Move (*window, in, out) to (out, in, *window)."""
    return kernel.transpose(-1, -2, *range(kernel.ndim - 2)) if kernel.ndim >= 2 else kernel


def to_flax(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """Return Flax's variables, {"params": ..., "batch_stats": ...}, of a PyTorch `state_dict()`.

    Args:
        state_dict: keys to tensors or arrays.

    Returns:
        A nested dict of new numpy arrays, of the same dtypes.

    Raises:
        CopyError: a key follows no rule, or two keys would land in one place.
    """
    flat: dict[str, np.ndarray] = {}
    for key, tensor in state_dict.items():
        array = as_array(tensor)
        path = flax_path(key, array.ndim)
        if path in flat:
            raise CopyError(f"two PyTorch tensors, one of them '{key}', would both become '{path}'")
        flat[path] = to_flax_layout(array)
    return unflatten(flat)


def to_torch(variables: Mapping[str, Any], module: Any) -> dict[str, Any]:
    """Return the `state_dict` for a PyTorch `module` that Flax's `variables` stand for.

    Args:
        variables: nested dict with "params" and, with BatchNorm, "batch_stats".
        module: the module, or its `state_dict()`; its keys, shapes and dtypes are the template.

    Returns:
        The module's keys, to tensors where the template holds tensors, else to arrays. A counter of batches
        that `variables` do not have, as Flax's own BatchNorm does not, keeps the module's value.

    Raises:
        CopyError: anything is missing, left over, or of another shape; all of it is listed.
    """
    template = module.state_dict() if hasattr(module, "state_dict") else module
    flat = flatten(variables)
    paths = {key: flax_path(key, len(tensor.shape)) for key, tensor in template.items()}
    for key, path in paths.items():
        if key.endswith(COUNTER) and path not in flat:
            flat[path] = as_array(template[key])
    found = {key: to_torch_layout(flat[path]) for key, path in paths.items() if path in flat}
    extra = sorted(flat.keys() - set(paths.values()))
    _require_same(found, template, extra)
    return {key: _like(array, template[key]) for key, array in found.items()}


def variables_from_weights(weights: Mapping[str, np.ndarray], template: Mapping[str, Any]) -> dict[str, Any]:
    """Return the Flax variables that a weight file stands for, whichever framework wrote it.

    Args:
        weights: as stored: paths with "/" come from Flax, keys with "." from PyTorch.
        template: the network's own variables, for names, shapes and dtypes.

    Raises:
        CopyError: as `to_torch`.
    """
    flat, expected = dict(weights) if is_flax(weights) else flatten(to_flax(weights)), flatten(template)
    _require_same(flat, expected, sorted(flat.keys() - expected.keys()))
    return unflatten({path: flat[path].astype(array.dtype) for path, array in expected.items()})


def state_dict_from_weights(weights: Mapping[str, np.ndarray], template: Mapping[str, Any]) -> dict[str, Any]:
    """Return the PyTorch state_dict that a weight file stands for, whichever framework wrote it.

    Args:
        weights: as stored: paths with "/" come from Flax, keys with "." from PyTorch.
        template: the network's own state_dict, for keys, shapes and dtypes.

    Raises:
        CopyError: as `to_torch`.
    """
    if is_flax(weights):
        return to_torch(unflatten(weights), template)
    _require_same(weights, template, sorted(weights.keys() - template.keys()))
    return {key: _like(weights[key], tensor) for key, tensor in template.items()}


def is_flax(weights: Mapping[str, Any]) -> bool:
    """Tell a stored Flax file, "params/fc1/kernel", from a PyTorch one, "fc1.weight"."""
    return any("/" in name for name in weights)


def flatten(variables: Mapping[str, Any], prefix: str = "") -> dict[str, np.ndarray]:
    """Return nested variables as {"params/fc1/kernel": array}; the arrays are copies (trap 22)."""
    flat: dict[str, np.ndarray] = {}
    for name, value in variables.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}/")
        else:
            flat[prefix + name] = as_array(value)
    return flat


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
    return array.astype(template.dtype)


def _require_same(found: Mapping[str, Any], template: Mapping[str, Any], extra: list[str]) -> None:
    missing = [f"missing {name} {tuple(template[name].shape)}" for name in template if name not in found]
    unexpected = [f"unexpected {name}" for name in extra]
    reshaped = [
        f"{name} is {tuple(array.shape)}, expected {tuple(template[name].shape)}"
        for name, array in found.items()
        if name in template and tuple(array.shape) != tuple(template[name].shape)
    ]
    if faults := missing + unexpected + reshaped:
        raise CopyError(f"{len(faults)} tensors do not match: {'; '.join(faults)}")
