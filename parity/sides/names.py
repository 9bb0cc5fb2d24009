"""What the tensors and layers of a Flax module are called, where PyTorch calls them otherwise."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from parity.sides.calls import CallName

FOREIGN = "Flax's "  # before the name of a layer that PyTorch's module has no counterpart of


class Names(NamedTuple):
    """PyTorch's names, as Flax's paths, to those that the Flax module has for the same; if empty, they are the same.

    If not, a layer that is not here has no counterpart, whatever it is called. Calls are numbered: "drop1#0" is the
    first call of drop1.
    """

    tensors: Mapping[str, str] = {}  # "params/conv1/kernel": "params/Conv_0/kernel"
    layers: Mapping[str, str] = {}  # "conv1": "Conv_0"
    dropouts: Mapping[str, str] = {}  # "drop1#0": "Dropout_0#0"
    shapes: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}  # by PyTorch's name, where both shapes differ

    def to_native(self, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return tensors by PyTorch's names under the Flax module's, in its shapes."""
        return {
            self.tensors.get(path, path): array.reshape(self.shapes[path][1]) if path in self.shapes else array
            for path, array in tensors.items()
        }

    def from_native(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """Return tensors by the Flax module's names under PyTorch's, in its shapes."""
        back = {native: path for path, native in self.tensors.items()}
        found = {}
        for native, array in tensors.items():
            path = back.get(native, f"{FOREIGN}{native}" if native in self.tensors else native)
            found[path] = array.reshape(self.shapes[path][0]) if path in self.shapes else array
        return found

    def native_calls(self, calls: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is known of calls under the Flax module's names of their layers, of those that have one."""
        if not self.layers:
            return dict(calls)
        return {_renamed(name, self.layers): x for name, x in calls.items() if CallName(name).layer in self.layers}

    def from_native_calls(self, calls: Mapping[str, Any]) -> dict[str, Any]:
        """Return what is known of calls under PyTorch's names of their layers."""
        if not self.layers:
            return dict(calls)
        back = {native: name for name, native in self.layers.items()}
        layers = {CallName(call).layer for call in calls}
        return {_renamed(call, {name: f"{FOREIGN}{name}" for name in layers} | back): x for call, x in calls.items()}

    def native_sites(self, masks: Mapping[str, Any]) -> dict[str, Any]:
        """Return masks by the Flax module's names of the calls that they are for."""
        return {self.dropouts.get(name, name): mask for name, mask in masks.items()}

    def from_native_sites(self, sites: Mapping[str, Any]) -> dict[str, Any]:
        """Return sites by PyTorch's names of the calls of dropout layers."""
        back = {native: name for name, native in self.dropouts.items()}
        return {back.get(name, name): site for name, site in sites.items()}


def _renamed(call: str, names: Mapping[str, str]) -> CallName:
    name = CallName(call)
    return name.renamed(names.get(name.layer, name.layer))
