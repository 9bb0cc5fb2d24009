"""A mapping: the rule of every leaf of a JAX model, and what has no twin on the other side."""

from collections import abc
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from data.registry import nearest
from experiment.weights.conversion import COUNTER, leaves, unflatten
from experiment.weights.layout import CopyError
from experiment.weights.loaded import to_arrays
from parity.mapping.rule import Rule

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Mapping:
    """How the leaves of a JAX model and the state_dict of a PyTorch module are made from each other."""

    rules: dict[str, Rule]  # by the leaf's path, "params/fc1/kernel"
    tensors: dict[str, Shape]  # of the state_dict, without the doubles of tied ones
    leaves: dict[str, Shape]  # of the JAX model, with those that have no twin
    kept_leaves: dict[str, np.ndarray] = field(default_factory=dict)  # tables without a twin; own values
    kept_tensors: dict[str, np.ndarray] = field(default_factory=dict)  # buffers likewise
    tied: dict[str, str] = field(default_factory=dict)  # a key whose tensor is another key's

    def to_flax(self, state_dict: abc.Mapping[str, Any], *, flat: bool = False) -> dict[str, Any]:
        """Return the variables of the JAX model that a state_dict stands for; dtypes are kept.

        Args:
            state_dict: keys to tensors or arrays.
            flat: return {"params/fc1/kernel": array} in place of nested dicts.

        Raises:
            CopyError: a tensor is missing, unexpected or of another shape, or a buffer that has no twin has another
                value than the module's; all are listed.
        """
        state = self._untied(_arrays(state_dict))
        used = {key for rule in self.rules.values() for key in rule.sources}
        faults = _differences(state, self.tensors, "tensor", lambda key: key in used)
        faults += [
            f"'{key}' differs from the module's, and the JAX model has no place for it"
            for key, own in self.kept_tensors.items()
            if key in state and not key.endswith(COUNTER) and not _same(state[key], own)
        ]
        known = self.rules.keys() | self.kept_leaves.keys()
        faults += [f"leaf '{path}' has neither a rule nor a value" for path in self.leaves if path not in known]
        if faults:
            raise CopyError("; ".join(faults))
        found = {path: rule(state) for path, rule in self.rules.items()}
        own = {path: value for path, value in self.kept_leaves.items() if path not in found}
        found |= _narrowed(own, found.values())
        ordered = {path: found[path] for path in self.leaves if path in found}
        return ordered if flat else unflatten(ordered)

    def to_torch(self, variables: abc.Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Return the state_dict that a JAX model's variables stand for; a sum goes to its first tensor.

        Args:
            variables: nested dicts, or {"params/fc1/kernel": array}.

        Raises:
            CopyError: a leaf is missing, unexpected or of another shape, leaves that share a tensor differ, or a
                tensor has elements that no leaf holds; all are listed.
        """
        given = _arrays(dict(leaves(variables)))
        faults = _differences(given, self.leaves, "leaf", lambda path: path in self.rules)
        if faults:
            raise CopyError("; ".join(faults))
        found, held = dict[str, np.ndarray](), dict[str, np.ndarray]()
        for path, rule in self.rules.items():
            try:
                numbers, places = rule.spread(given[path], self.tensors, sums=True)
            except CopyError as error:
                faults.append(f"'{path}': {error}")
                continue
            for key, array in numbers.items():
                if key not in found:
                    found[key], held[key] = array, places[key]
                    continue
                both = held[key] & places[key]
                if not _same(found[key][both], array[both]):
                    faults.append(f"'{path}' holds other numbers for '{key}' than another leaf")
                found[key] = np.where(held[key], found[key], array)
                held[key] = held[key] | places[key]
        faults += [
            f"'{key}': {np.sum(~places)} of {places.size} elements are in no leaf"
            for key, places in held.items()
            if not places.all()
        ]
        known = found.keys() | self.kept_tensors.keys()
        faults += [f"'{key}' is in no leaf and has no value" for key in self.tensors if key not in known]
        if faults:
            raise CopyError("; ".join(faults))
        found |= {key: np.array(value) for key, value in self.kept_tensors.items() if key not in found}
        found |= {key: found[other] for key, other in self.tied.items()}
        return {key: found[key] for key in [*self.tensors, *self.tied] if key in found}

    def renamed(self, names: abc.Mapping[str, str]) -> "Mapping":
        """Return the mapping with other names for leaves; see `native_names`."""

        def new(by_path: abc.Mapping[str, Any]) -> dict[str, Any]:
            return {names.get(path, path): value for path, value in by_path.items()}

        return replace(self, rules=new(self.rules), leaves=new(self.leaves), kept_leaves=new(self.kept_leaves))

    def without_twin(self) -> list[str]:
        """Return lines about what one side has alone, with the values that are kept; one for those that are alike."""
        sides = (("the JAX model's own", self.kept_leaves, "/"), ("PyTorch's own", self.kept_tensors, "."))
        alike: dict[tuple[str, str], list[str]] = {}
        for side, kept, separator in sides:
            for path, value in kept.items():
                last = path.rpartition(separator)[2]
                alike.setdefault((last, f"{side}, {_shown(value)}"), []).append(path)
        more = {key: f" and {len(paths) - 1} more {key[0]}" if paths[1:] else "" for key, paths in alike.items()}
        return [f"{paths[0]}{more[key]}: {key[1]}" for key, paths in alike.items()]

    def _untied(self, state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return a state_dict without the doubles of tied tensors, which must be equal."""
        state = dict(state)
        for key, other in self.tied.items():
            if key in state:
                array = state.pop(key)
                if not _same(state.setdefault(other, array), array):
                    raise CopyError(f"'{key}' and '{other}' are one tensor in the module, but differ here")
        return state


def _arrays(tensors: abc.Mapping[str, Any]) -> dict[str, np.ndarray]:
    torch = {key: tensor.cpu() for key, tensor in tensors.items() if hasattr(tensor, "detach")}
    found = to_arrays(torch, "the state_dict") if torch else {}
    return {key: found[key] if key in found else np.asarray(tensor) for key, tensor in tensors.items()}


def _differences(
    found: abc.Mapping[str, np.ndarray], expected: abc.Mapping[str, Shape], what: str, needed: Callable[[str], bool]
) -> list[str]:
    """Return a line for every array that is missing, unexpected or of another shape."""
    missing = [name for name in expected if name not in found and needed(name)]
    extra = [name for name in found if name not in expected]
    faults = [f"missing {what} '{name}' {expected[name]}" for name in missing]
    faults += [f"unexpected {what} '{name}' {found[name].shape}.{nearest(name, missing)}" for name in extra]
    return faults + [
        f"{what} '{name}' is {array.shape}, expected {tuple(expected[name])}"
        for name, array in found.items()
        if name in expected and array.shape != tuple(expected[name])
    ]


def _narrowed(own: abc.Mapping[str, np.ndarray], others: abc.Iterable[np.ndarray]) -> dict[str, np.ndarray]:
    """Return the model's own values, float64 ones in the widest type of the others, float32 at least."""
    kinds = [array.dtype for array in others if array.dtype.kind == "f"]
    dtype = np.result_type(np.float32, *kinds)
    return {path: np.array(value, dtype if value.dtype == np.float64 else None) for path, value in own.items()}


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    if np.shape(a) != np.shape(b):
        return False
    a, b = np.asarray(a), np.asarray(b)
    if a.dtype.kind in "biu" and b.dtype.kind in "biu":
        return np.array_equal(a, b)
    narrow = a.dtype if a.dtype.itemsize <= b.dtype.itemsize else b.dtype  # one may be a rounded copy of the other
    return np.array_equal(a.astype(narrow).astype(np.float64), b.astype(narrow).astype(np.float64), equal_nan=True)


def _shown(value: np.ndarray) -> str:
    value = np.asarray(value)
    return f"{value.dtype} {value.shape}" + (f" = {value.reshape(-1)[:4].tolist()}" if value.size <= 4 else "")
