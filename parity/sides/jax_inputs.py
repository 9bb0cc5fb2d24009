"""What the JAX side takes, and how unlike the other side it is."""

import inspect
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from flax import linen, nnx

from parity.sides.conventions import MODE_WORDS
from parity.sides.jax_side import JaxSide
from parity.sides.opened import is_equinox
from parity.sides.outputs import named_leaves
from parity.sides.pair import STATE_WORDS, TREE_WORDS, leads
from parity.sides.signatures import key_words, parameters


class Sized(Protocol):
    """A PyTorch module, or a record of one."""

    trained: frozenset[str]

    @property
    def sizes(self) -> Mapping[str, int]:
        """Return how many numbers each tensor has."""
        ...


def jax_parameters(model: Any) -> dict[str, inspect.Parameter]:
    """Return the parameters of a JAX model that are inputs."""
    parts = list(model) if isinstance(model, tuple | list) else [model]
    apply = None if isinstance(model, linen.Module | nnx.Module) else getattr(model, "apply", None)
    if apply is not None:
        function, pair = apply, True  # an (init, apply) pair
    elif isinstance(parts[0], nnx.GraphDef):
        function, pair = nnx.merge(*parts), False
    else:
        first = next((p for p in parts if callable(getattr(p, "apply", p))), parts[0])
        owner = getattr(first, "__self__", first)
        bound = isinstance(owner, linen.Module) and getattr(first, "__name__", "apply") == "apply"
        module = isinstance(first, linen.Module | nnx.Module) or is_equinox(first)
        function = owner if bound else first if module else getattr(first, "apply", first)
        pair = len(parts) > 1 and not bound and not module
    found = parameters(function)
    if pair:
        chosen = leads(function, len(parts) > 2)[0]
        found = {n: p for n, p in found.items() if n not in chosen.consumed}
    hidden = {*MODE_WORDS, *key_words(found)}
    hidden |= {*STATE_WORDS} if len(parts) > 1 else {*TREE_WORDS} if hasattr(model, "params_shape_tree") else set()
    return {n: p for n, p in found.items() if n not in hidden}


def distance(module: Sized, side: JaxSide, output: Mapping[str, Any]) -> float:
    """Return how unlike the two sides are in their numbers of weights and in the sizes of their outputs; 0: alike."""
    sizes_of = {name: module.sizes[name] for name in module.trained}
    ours = sum(sizes_of.values())
    second = sum(
        size for name, size in sizes_of.items() if "bias_hh" in name
    )  # recurrent layers of JAX's have one bias
    theirs = sum(side.leaves[name].size for name in side.trained)
    # Linen's layers take any number of channels, and make as many weights; others have theirs before.
    counts = (ours, ours - second, ours - 2 * second // 3)  # a GRU has a second one for one of its gates
    weights = min(abs(np.log((n + 1) / (theirs + 1))) for n in counts) if side.kind == "Linen" else 0.0
    sizes = [int(np.prod(leaf.shape)) for leaf in named_leaves(side.output).values()]
    missing = sum(int(np.prod(leaf.shape)) not in sizes for leaf in output.values())
    return float(weights + missing)
