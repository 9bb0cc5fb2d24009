"""Where each PyTorch tensor lives in Flax's variables, and how it lies there: a rename and a transposition, by rule.

A layer has the same name on both sides, so the path follows from the key; the rank decides the rest, and the layer's
type where the rank alone would be wrong (an embedding, a transposed convolution).
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from data.errors import UserError

# PyTorch's last part of a key to Flax's collection and name; "weight" is decided by the rank.
LEAVES = {
    "bias": ("params", "bias"),
    "running_mean": ("batch_stats", "mean"),
    "running_var": ("batch_stats", "var"),
    "num_batches_tracked": ("batch_stats", "num_batches_tracked"),
}


class CopyError(UserError):
    """Two sets of tensors are not the same by name, shape and, where it matters, dtype."""


class Layout(NamedTuple):
    """A tensor's place in Flax's variables."""

    path: str  # "params/fc1/kernel"
    how: str = "kernel"  # "kernel": by rank; "as it is"; "transposed convolution"

    def to_flax(self, array: np.ndarray) -> np.ndarray:
        """Return PyTorch's array in Flax's layout."""
        if self.how == "as it is":
            return array
        if self.how == "transposed convolution":  # (I, O, *window): PyTorch's window is Flax's, flipped
            window = tuple(range(array.ndim - 2))
            return np.flip(array.transpose(*range(2, array.ndim), 0, 1), window)
        return to_flax_layout(array)

    def to_torch(self, array: np.ndarray) -> np.ndarray:
        """Return Flax's array in PyTorch's layout."""
        if self.how == "as it is":
            return array
        if self.how == "transposed convolution":
            window = tuple(range(array.ndim - 2))
            return np.flip(array, window).transpose(-2, -1, *window)
        return to_torch_layout(array)


def layouts(source: Any) -> dict[str, Layout]:
    """Return where every tensor of a PyTorch module, or of its `state_dict()`, lives in Flax's variables.

    A state_dict does not tell the types of its layers, so there only the tensors of ordinary layers have a rule; of a
    module, a tensor with a name of its own stays as it is.

    Raises:
        CopyError: a key of a state_dict follows no rule.
    """
    if not hasattr(source, "state_dict"):
        return {key: Layout(flax_path(key, len(tensor.shape))) for key, tensor in source.items()}
    layers = dict(source.named_modules())
    return {
        key: _of_layer(layers[key.rpartition(".")[0]], key, len(tensor.shape))
        for key, tensor in source.state_dict().items()
    }


def _of_layer(layer: Any, key: str, ndim: int) -> Layout:
    name, _, leaf = key.rpartition(".")
    types = {cls.__name__ for cls in type(layer).__mro__}
    if leaf == "weight" and types & {"Embedding", "EmbeddingBag"}:
        return Layout("/".join(part for part in ("params", layer_path(name), "embedding") if part), "as it is")
    if leaf == "weight" and "_ConvTransposeNd" in types:
        return Layout(flax_path(key, ndim), "transposed convolution")
    if leaf == "weight" or leaf in LEAVES:
        return Layout(flax_path(key, ndim))
    collection = "params" if leaf in layer._parameters else "buffers"
    return Layout(f"{collection}/{layer_path(key)}", "as it is")


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


def by_path(places: Mapping[str, Layout]) -> Iterator[tuple[str, str, Layout]]:
    """Yield (path, key, layout) of every tensor.

    Raises:
        CopyError: two keys would land in one place.
    """
    seen: dict[str, str] = {}
    for key, layout in places.items():
        if layout.path in seen:
            raise CopyError(f"two PyTorch tensors, one of them '{key}', would both become '{layout.path}'")
        seen[layout.path] = key
        yield layout.path, key, layout
