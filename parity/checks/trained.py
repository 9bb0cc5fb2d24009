"""Whether both sides train the same numbers: one of JAX's for each of PyTorch's, and no other.

Gradients by tensor do not tell. If one tensor of PyTorch's is two leaves, their gradients add up to the right one, but
each leaf moves by its own part of it, and after one step they are no longer equal.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from parity.align.pair import PortPair
from parity.mapping.rule import NONE, Shapes
from parity.report.compare import relative_error, total_norm
from parity.sides.frameworks import x64
from parity.sides.numbers import to_numpy
from parity.sides.outputs import named_leaves
from parity.trace.fingerprint import sized

LIVE = 1e-6  # a gradient this small against all of them is zero but for rounding
SAME, SAME_NARROW = 1e-9, 1e-4  # outputs that are this near to each other do not depend on what was moved
DECLARED = ("Linen", "NNX")  # models that say which of their arrays are parameters; of others, all are
APART, EXTRA, BUFFER, CONSTANT = (
    "one tensor in PyTorch is trained as several here",
    "a layer has more numbers than PyTorch's",
    "a buffer of PyTorch's is trained",
    "a parameter of PyTorch's is not trained",
)
ADVICE = {
    APART: "use one array in both places; two that start equal part with the first step",
    EXTRA: "give the layer PyTorch's size",
    BUFFER: "keep it in another collection (Linen), or in another nnx.Variable than nnx.Param (NNX)",
    CONSTANT: "make it a parameter: self.param (Linen), nnx.Param (NNX)",
}
INFERENCE = "; --for inference (purpose='inference') checks the forward pass alone"


class Apart(NamedTuple):
    """Numbers that one side trains and the other does not."""

    cause: str
    key: str  # PyTorch's tensor
    words: str

    @property
    def advice(self) -> str:
        """Return what to do."""
        return ADVICE[self.cause] + INFERENCE


def trained_apart(
    pair: PortPair, by_leaf: Mapping[str, Any], reference: Mapping[str, Any]
) -> tuple[list[Apart], list[str]]:
    """Return what is not trained in the same way, and what is worth a note.

    Args:
        pair: both sides, whose gradients agree by tensor.
        by_leaf: JAX's gradients of its trained leaves, by path.
        reference: PyTorch's gradients of its trained tensors, by key.
    """
    shapes = {key: array.shape for key, array in pair.torch.parameters.items()}
    gradients = {path: np.abs(np.asarray(gradient, np.float64)) for path, gradient in by_leaf.items()}
    least = LIVE * total_norm(gradients) if gradients else 0.0
    live = {p: g for p, g in gradients.items() if p in pair.weights.rules and np.linalg.norm(g) > least}
    apart = [*_extra(pair, shapes), *_copies(pair, shapes, live, reference), *_constant(pair, reference)]
    buffers, notes = _untrained(pair, live, reference)
    return apart + buffers, notes


def _extra(pair: PortPair, shapes: Shapes) -> list[Apart]:
    """Return the leaves with numbers that no tensor gives, and on which an output depends once they are not zero.

    A gradient does not tell: of a unit more, both weights are zero, and so are the gradients of both.
    """
    rules = {path: pair.weights.rules[path] for path in sorted(pair.jax.trained & pair.weights.rules.keys())}
    alone = {p: (r.table(shapes).indices == NONE).all(axis=0) for p, r in rules.items() if not r.is_permutation}
    alone = {path: places for path, places in alone.items() if places.any()}
    rng, moved = np.random.default_rng(4), dict[str, np.ndarray]()
    for path, places in alone.items():
        moved[path] = np.where(places, rng.normal(size=places.shape), pair.leaves[path])
    if not moved or not _depends(pair, {}, moved):
        return []
    found = []
    for path, places in alone.items():
        if not _depends(pair, {p: array for p, array in moved.items() if p != path}, moved):
            continue
        sources = ", ".join(rules[path].sources)
        words = (
            f"{path} {places.shape} has {places.sum()} numbers that PyTorch's {sources} does not have; they are zero"
        )
        found.append(Apart(EXTRA, rules[path].sources[0], f"{words}, and once they are not, outputs change"))
    return found


def _depends(pair: PortPair, one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> bool:
    """Tell whether the outputs that both sides have differ between two choices of some leaves."""
    with x64():
        before, after = (
            named_leaves(pair.jax.call({**pair.leaves, **leaves}, *pair.jax_inputs, train=False)[0])
            for leaves in (one, other)
        )
    names = [twin.jax_name for twin in pair.shared]
    same = SAME_NARROW if pair.narrow else SAME
    return any(relative_error(to_numpy(before[name]), to_numpy(after[name])) > same for name in names)


def _copies(
    pair: PortPair, shapes: Shapes, live: Mapping[str, np.ndarray], reference: Mapping[str, Any]
) -> list[Apart]:
    """Return the tensors of which a number is in several places, each with a gradient of its own."""
    places: dict[str, list[str]] = {}
    for path in live:
        for key in dict.fromkeys(pair.weights.rules[path].sources):
            places.setdefault(key, []).append(path)
    found = []
    for key, paths in places.items():
        rules = [pair.weights.rules[path] for path in paths]
        if key not in reference or (len(rules) == 1 and rules[0].is_permutation):
            continue
        counts = np.zeros(shapes[key], np.int64)
        for path, rule in zip(paths, rules, strict=True):
            some = live[path] > LIVE * live[path].max()
            counts += rule.back(some.astype(np.int64), shapes)[key]
        if counts.max(initial=0) > 1:
            where = " and ".join(paths) if len(paths) > 1 else f"several places of {paths[0]}"
            words = f"PyTorch's {key} is one tensor, and in {where} here: each part is trained by its own gradient"
            found.append(Apart(APART, key, words))
    return found


def _constant(pair: PortPair, reference: Mapping[str, Any]) -> list[Apart]:
    """Return the tensors that PyTorch trains and whose leaves are no parameters."""
    norms = {key: np.linalg.norm(sized(array)) for key, array in reference.items()}
    least = LIVE * np.linalg.norm(list(norms.values()))
    found = []
    for key, norm in norms.items():
        paths = [path for path, rule in pair.weights.rules.items() if key in rule.sources]
        if paths and not pair.jax.trained & set(paths) and norm > least:
            found.append(Apart(CONSTANT, key, f"PyTorch trains {key}; {paths[0]} is no parameter"))
    return found


def _untrained(
    pair: PortPair, live: Mapping[str, np.ndarray], reference: Mapping[str, Any]
) -> tuple[list[Apart], list[str]]:
    """Return the parameters that PyTorch does not train: buffers are faults, what is frozen is the optimizer's task.

    A function's arrays are all in one tree, and who uses it knows which of them are trained.
    """
    module = getattr(pair.torch, "module", None)
    buffers = {name for name, _ in module.named_buffers()} if module is not None else set()
    found, notes = [], []
    for path in live:
        keys = pair.weights.rules[path].sources
        if any(key in reference for key in keys):
            continue
        if pair.jax.kind in DECLARED and buffers & set(keys):
            words = f"{path} is a parameter with a gradient; PyTorch's {keys[0]} is a buffer, which no optimizer moves"
            found.append(Apart(BUFFER, keys[0], words))
        else:
            notes.append(path)
    if not notes:
        return found, []
    listed = ", ".join(notes[:3]) + (f" and {len(notes) - 3} more" if len(notes) > 3 else "")
    return found, [f"PyTorch does not train what {listed} {'is' if len(notes) == 1 else 'are'} made of"]
