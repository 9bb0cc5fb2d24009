"""Tensors by path, and the layers that they belong to, with nothing but names and shapes."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from parity.sides.calls import CallName

# What a tensor is called, by what it is.
WORDS = (
    {"kernel", "weight", "w"},
    {"scale", "weight", "gamma", "g"},
    {"bias", "beta", "b", "offset", "shift"},
    {"mean", "running_mean", "moving_mean"},
    {"var", "running_var", "moving_var", "moving_variance", "variance"},
    {"embedding", "weight", "table"},
)
Tensors = dict[str, tuple[int, ...]]  # shapes by path, "params/conv1/kernel"
Shapes = tuple[tuple[bool, tuple[int, ...]], ...]  # of a layer's tensors, and whether they are trained


def tensor_pairs(ours: Tensors, theirs: Tensors, known: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield which tensor of a layer is which of another's: by name, by another word for it, or by shape."""
    left = [path for path in theirs if path not in known.values()]
    rules: tuple[Callable[[str, str], bool], ...] = (
        lambda a, b: leaf_of(a) == leaf_of(b),
        lambda a, b: any(leaf_of(a) in words and leaf_of(b).lower() in words for words in WORDS),
        lambda *_: True,
    )
    mine = [path for path in ours if path not in known]
    for rule in rules:
        for path in list(mine):
            fits = [b for b in left if kind_of(path, ours[path]) == kind_of(b, theirs[b]) and rule(path, b)]
            if len(fits) == 1 or (fits and rule is rules[0]):
                mine.remove(path)
                left.remove(fits[0])
                yield path, fits[0]


def layers_of(tensors: Tensors) -> dict[str, Tensors]:
    """Return the tensors of each layer."""
    layers: dict[str, Tensors] = {}
    for path, shape in tensors.items():
        layers.setdefault(layer_of(path), {})[path] = shape
    return layers


def in_order(layers: dict[str, Tensors], calls: Mapping[str, Any]) -> dict[str, Tensors]:
    """Return layers in their order of use, those that are never called last."""
    order = [CallName(name).layer for name in calls]
    return dict(sorted(layers.items(), key=lambda item: order.index(item[0]) if item[0] in order else len(order)))


def kind_of(path: str, shape: tuple[int, ...]) -> tuple[bool, tuple[int, ...]]:
    """Return whether a tensor is trained, and its shape without sides of one: a 1x1 convolution may be linear."""
    return path.startswith("params/"), tuple(size for size in shape if size != 1)


def layer_of(path: str) -> str:
    """Return a tensor's layer; a module's own tensor stands for itself, unless the module is a layer."""
    _, *layer, leaf = path.split("/")
    return "/".join(layer) or ("" if any(leaf in words for words in WORDS) else leaf)


def leaf_of(path: str) -> str:
    """Return a tensor's own name."""
    return path.rpartition("/")[2]
