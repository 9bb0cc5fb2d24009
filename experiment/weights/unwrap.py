"""Finding the weights in what a trainer has saved with them: epochs, optimizers, averages and other values.

What is chosen and what is left out is always said.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data.errors import UserError
from experiment.weights.inert_pickle import Opaque
from experiment.weights.torch_file import holds_more, is_module
from experiment.weights.torch_tensor import Tensor, Unreadable, advice, called

SHOWN = 5
DEPTH = 8  # dicts in dicts
NODES, DEEPEST = 10**5, 100
# Where trainers put the weights, best first: the weights themselves before their moving average.
PREFERRED = (
    "state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights", "params", "module",
    "teacher", "target", "state", "ema_state_dict", "state_dict_ema", "model_ema", "ema_model", "ema", "params_ema",
    "shadow",
)  # fmt: skip
OTHER = ("optim", "opt_", "sched", "lr_sched", "scaler", "amp", "callbacks", "loops", "rng", "random", "criterion")
FLAX = ("params", "batch_stats")
STATISTICS = ("mean", "var", "num_batches_tracked")
PLAIN = (bool, int, float, complex, str, bytes, type(None))


class Unwrapped(NamedTuple):
    """The weights in a file, and what was done to find them, in words."""

    tensors: dict[str, Any]
    note: str  # "" if the file holds nothing else


def unwrap_torch(root: Any, path: Path) -> Unwrapped:
    """Return the flat dict of names to tensors in what torch.save has saved.

    Raises:
        UserError: there is none, or there are several and none has one of the usual names.
    """
    keys: list[str] = []
    left: list[str] = []
    value = root
    while not (isinstance(value, Mapping) and _is_flat(value)):
        inner = _items(value)
        if is_module(value):
            raise _whole_module(path, value, keys)
        chosen = _choose(inner, path, keys) if inner and len(keys) < DEPTH else None
        if chosen is None:
            return Unwrapped(*_mixed(value, path, keys, left))
        left += [".".join([*keys, str(key)]) for key in inner if key != chosen]
        keys.append(chosen)
        value = inner[chosen]
        if _is_flat(_items(value)):
            value = _items(value)
    return Unwrapped(dict(value), _note(keys, left))


def _items(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else value.items if isinstance(value, Opaque) else {}


def _is_flat(value: Mapping[Any, Any]) -> bool:
    """Tell whether a dict holds tensors by name and nothing else."""
    return bool(value) and all(isinstance(k, str) and isinstance(v, (Tensor, Unreadable)) for k, v in value.items())


def _holds_weights(value: Any, seen: dict[int, bool], depth: int = 0) -> bool:
    """Tell whether a value is a dict of tensors by name, or holds one; a whole module counts, too.

    `seen` has the answers so far: a pickle may hold one object in many places, or in itself.
    """
    if id(value) in seen:
        return seen[id(value)]
    items = _items(value)
    seen[id(value)] = False
    if _is_flat(items) or is_module(value):
        seen[id(value)] = True
    elif depth < DEPTH and "param_groups" not in items:
        tensors = sum(isinstance(one, (Tensor, Unreadable)) for key, one in items.items() if isinstance(key, str))
        inner = [one for key, one in items.items() if isinstance(key, str) and _items(one)]
        many = tensors > 0 and tensors * 2 > len(items)
        seen[id(value)] = many or any(_holds_weights(one, seen, depth + 1) for one in inner)
    return seen[id(value)]


def _choose(items: Mapping[Any, Any], path: Path, keys: list[str]) -> str | None:
    """Return the key under which the weights are; None if they are not further inside."""
    seen: dict[int, bool] = {}
    names = [key for key, value in items.items() if isinstance(key, str) and _holds_weights(value, seen)]
    weights = [name for name in names if not is_module(items[name])] or names
    for name in PREFERRED:
        if name in weights:
            return name
    weights = [name for name in weights if not name.lower().startswith(OTHER)]
    if any(isinstance(value, Tensor) for value in items.values()):
        return None
    if len(weights) > 1:
        listed = ", ".join(map(repr, weights[:SHOWN])) + (f" and {n} more" if (n := len(weights) - SHOWN) > 0 else "")
        what = "".join(f"[{key!r}]" for key in [*keys, weights[0]])
        raise UserError(
            f"{path}: holds several sets of tensors, {listed}; save one of them: torch.save(checkpoint{what}, FILE)"
        )
    return weights[0] if weights else None


def _mixed(value: Any, path: Path, keys: list[str], left: list[str]) -> tuple[dict[str, Any], str]:
    """Return the tensors of a dict that has plain values among them; refuse what has other objects, or no tensors."""
    if not isinstance(value, Mapping):
        if isinstance(value, Opaque):
            raise holds_more(path, value.name)
        found = called(value)
        raise UserError(f"{path}: expected a dict of names to tensors, found {found}; {advice()}")
    if not value:
        raise UserError(f"{path}: holds no tensors")
    if "param_groups" in value:
        raise UserError(f"{path}: is the state of an optimizer, not of a network; {advice()}")
    tensors = {
        key: one for key, one in value.items() if isinstance(key, str) and isinstance(one, (Tensor, Unreadable))
    }
    rest = {key: one for key, one in value.items() if key not in tensors}
    if opaque := [one for one in rest.values() if isinstance(one, Opaque)]:
        raise holds_more(path, opaque[0].name)
    keyed = any(isinstance(one, (Tensor, Unreadable)) for one in rest.values())
    if not tensors or keyed or not all(isinstance(one, PLAIN) or not one for one in rest.values()):
        kinds = ", ".join(f"{_short(key)} is {called(one)}" for key, one in list(rest.items())[:SHOWN])
        more = f", and {len(rest) - SHOWN} more" if len(rest) > SHOWN else ""
        raise UserError(f"{path}: expected a flat dict of names to tensors, but {kinds}{more}; {advice()}")
    return tensors, _note(keys, [*left, *(".".join([*keys, str(key)]) for key in rest)])


def _whole_module(path: Path, module: Opaque, keys: list[str]) -> UserError:
    where = f"'{keys[-1]}' is" if keys else "is"
    inner = "".join(f"[{key!r}]" for key in keys)
    how = f"torch.save(torch.load({path.name!r}, weights_only=False){inner}.state_dict(), 'weights.pth')"
    what = f"{where} a whole module ({module.name}), which needs its class, and was not loaded, nothing in it was run"
    return UserError(f"{path}: {what}; if you trust the file, where that class can be imported: {how}")


def unwrap_arrays(tree: Mapping[str, Any], path: Path) -> Unwrapped:
    """Return Flax's variables, "params/fc1/kernel", in nested dicts of arrays.

    A training state's "params" and "batch_stats" are taken; a tree with neither is one of parameters.

    Raises:
        UserError: there is no array by name.
    """
    keys: list[str] = []
    left: list[str] = []
    for _ in range(DEPTH):
        inner = next((name for name in FLAX if _wraps(tree, name)), None)
        if inner is None and not any(isinstance(tree.get(name), Mapping) for name in FLAX):
            inner = next(
                (n for n in (*PREFERRED, *tree) if isinstance(tree.get(n), Mapping) and _wraps(tree, n)), None
            )
        if inner is None:
            break
        left += [".".join([*keys, name]) for name in tree if name != inner]
        keys, tree = [*keys, inner], tree[inner]
    if isinstance(tree.get("params"), Mapping):
        left += [".".join([*keys, name]) for name in tree if name not in FLAX]
        tree = {name: tree[name] for name in FLAX if isinstance(tree.get(name), Mapping)}
    flat = _leaves(tree, path)
    arrays = {name: value for name, value in flat.items() if isinstance(value, np.ndarray)}
    if not arrays:
        raise UserError(f"{path}: holds no tensors")
    left += [name for name in flat if name not in arrays and flat[name] is not None]
    return Unwrapped(in_collections(without_value(arrays)), _note(keys, left))


def _wraps(tree: Mapping[str, Any], name: str) -> bool:
    """Tell whether what is under `name` are whole variables, with "params" of their own."""
    inner = tree.get(name)
    return isinstance(inner, Mapping) and isinstance(inner.get("params"), Mapping)


def _leaves(tree: Any, path: Path) -> dict[str, Any]:
    """Return a tree's leaves by their paths, of dicts and lists.

    Raises:
        UserError: there are too many, as when one object is in many places of a pickle.
    """
    found: dict[str, Any] = {}
    waiting: list[tuple[str, Any]] = [("", tree)]
    for _ in range(NODES):
        if not waiting:
            return found
        prefix, node = waiting.pop()
        if prefix.count("/") > DEEPEST:
            break
        if isinstance(node, (Mapping, list, tuple)):
            items = list(node.items() if isinstance(node, Mapping) else enumerate(node))
            waiting += [(f"{prefix}{name}/", value) for name, value in reversed(items)]
        else:
            found[prefix.removesuffix("/")] = node
    raise UserError(f"{path}: holds more than {NODES:,} values, or dicts in each other more than {DEEPEST} deep")


def without_value(arrays: dict[str, Any]) -> dict[str, Any]:
    """Return Flax NNX's state, whose leaves are called "value", by the names without it."""
    return {re.sub(r"(?<=.)/(raw_)?value$", "", name): array for name, array in arrays.items()}


def in_collections(arrays: dict[str, Any]) -> dict[str, Any]:
    """Return Flax's variables with "params/" or "batch_stats/" in front of names that have neither."""
    if any(name.split("/")[0] in FLAX for name in arrays) or not any("/" in name for name in arrays):
        return arrays
    return {f"{FLAX[name.rpartition('/')[2] in STATISTICS]}/{name}": array for name, array in arrays.items()}


def _note(keys: list[str], left: list[str]) -> str:
    where = f"taken from {''.join(f'[{_short(key)}]' for key in keys)}" if keys else ""
    shown = ", ".join(name if name.isprintable() else ascii(name) for name in (name[:60] for name in left[:SHOWN]))
    more = f" and {len(left) - SHOWN} more" if len(left) > SHOWN else ""
    rest = f"left out: {shown}{more}" if left else ""
    return "; ".join(part for part in (where, rest) if part)


def _short(key: Any) -> str:
    text = repr(key)
    return text if len(text) <= 60 and text.isprintable() else ascii(text[:60])
