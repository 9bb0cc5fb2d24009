"""Which leaf of JAX's output is which of PyTorch's, and how it is laid out."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from itertools import permutations
from typing import Any, NamedTuple

import numpy as np

from parity.sides.numbers import to_numpy

ALIKE = 1e-2  # relative: nearer than this, a layout is told by the values
ALL_ORDERS = 4  # dimensions up to which any order of the axes is tried


class Way(NamedTuple):
    """How an array of JAX's becomes PyTorch's: axes in another order, then another shape."""

    axes: tuple[int, ...]
    shape: tuple[int, ...]
    words: str = ""

    def __call__(self, array: Any) -> Any:
        """Return JAX's array in PyTorch's layout."""
        return array.transpose(self.axes).reshape(self.shape)

    def back(self, array: Any, shape: tuple[int, ...]) -> Any:
        """Return PyTorch's array, such as a cotangent, in the layout of JAX's, which has a shape."""
        order = sorted(range(len(self.axes)), key=self.axes.__getitem__)
        return array.reshape([shape[axis] for axis in self.axes]).transpose(order)


class Twin(NamedTuple):
    """Two leaves that are the same output."""

    name: str  # PyTorch's
    jax_name: str
    way: Way | None  # None: the shapes have nothing in common


def paired(
    torch_leaves: Mapping[str, Any], jax_leaves: Mapping[str, Any], mask: Any = None
) -> tuple[list[tuple[str, np.ndarray, np.ndarray]], list[str]]:
    """Pair the leaves of both outputs: by name, else by order.

    Args:
        torch_leaves: PyTorch's, by name.
        jax_leaves: JAX's, by name.
        mask: of positions that are compared, such as (N, T), where True; or one by name.

    Returns:
        Name, PyTorch's array and JAX's in PyTorch's layout (as it is, if the shapes have nothing in common); and
        what a report should say: names that differ, layouts, what only one side has.
    """
    mine = {name: to_numpy(array) for name, array in torch_leaves.items()}
    theirs = {name: to_numpy(array) for name, array in jax_leaves.items()}
    found, notes = twins(mine, theirs), []
    pairs = []
    for name, jax_name, way in found:
        ours, other = mine[name], theirs[jax_name]
        if name != jax_name:
            notes.append(f"{name} of PyTorch is {jax_name} of JAX")
        if way is None:
            notes.append(f"{name} is {ours.shape} in PyTorch, {other.shape} in JAX")
        elif way.words:
            notes.append(f"{name}: {way.words}")
        pairs.append(masked(name, ours, way(other) if way else other, mask))
    notes += _alone("PyTorch", torch_leaves, mine.keys() - {t.name for t in found})
    notes += _alone("JAX", jax_leaves, theirs.keys() - {t.jax_name for t in found})
    return pairs, notes


def _alone(side: str, leaves: Mapping[str, Any], names: Any) -> Iterator[str]:
    groups = Counter(name.partition("/")[0] for name in leaves if name in names)
    if groups:
        words = (name if n == 1 else f"{name} ({n} arrays)" for name, n in groups.items())
        yield f"only {side} returns {', '.join(words)}"
    left = getattr(leaves, "left_out", {})
    if words := ", ".join(f"{name} ({kind})" for name, kind in left.items() if kind != "NoneType"):
        yield f"not compared of {side}'s output: {words}"


def twins(torch_leaves: Mapping[str, np.ndarray], jax_leaves: Mapping[str, np.ndarray]) -> list[Twin]:
    """Return which leaf is which, in PyTorch's order."""
    chosen: dict[str, str] = {}
    mine, theirs = list(torch_leaves), list(jax_leaves)
    same: tuple[Callable[[str, str], bool], ...] = (
        lambda a, b: a == b,
        lambda a, b: a.lower().replace("_", "") == b.lower().replace("_", ""),
        lambda a, b: a.rpartition("/")[2] == b.rpartition("/")[2] and not a.rpartition("/")[2].isdigit(),
        lambda a, b: torch_leaves[a].size == jax_leaves[b].size,
        lambda *_: len(mine) == len(theirs) == 1,
    )
    for rule in same:
        for a in list(mine):
            if b := next((b for b in theirs if rule(a, b)), None):
                chosen[a] = b
                mine.remove(a)
                theirs.remove(b)
    return [
        Twin(a, chosen[a], way_between(torch_leaves[a], jax_leaves[chosen[a]])) for a in torch_leaves if a in chosen
    ]


def way_between(ours: np.ndarray, theirs: np.ndarray) -> Way | None:
    """Return how JAX's array becomes PyTorch's: by the shapes, and where several fit, by the values."""
    if ours.size != theirs.size:
        return None
    fitting = list(_ways(ours.shape, theirs.shape))
    if len(fitting) < 2:
        return fitting[0] if fitting else None
    scale = float(np.abs(ours).max(initial=0)) or 1.0
    errors = [float(np.nanmax(np.abs(ours - way(theirs)), initial=0)) for way in fitting]
    if errors[0] <= ALIKE * scale or min(errors) > ALIKE * scale:
        return fitting[0]
    return fitting[int(np.argmin(errors))]


def ways_between(ours: tuple[int, ...], theirs: tuple[int, ...]) -> list[Way]:
    """Return what turns one shape into another of the same size, the most usual first; at most three ways."""
    usual = {tuple(range(len(theirs))), _first(len(theirs)), _last(len(theirs))}
    return [way for way in _ways(ours, theirs) if way.axes in usual][:3] or list(_ways(ours, theirs))[:1]


def _ways(ours: tuple[int, ...], theirs: tuple[int, ...]) -> Iterator[Way]:
    """Yield what turns one shape into another, the most usual first."""
    rank = len(theirs)
    usual = dict.fromkeys([tuple(range(rank)), _first(rank), _last(rank)])
    every = permutations(range(rank)) if rank <= ALL_ORDERS else ()
    orders = [axes for axes in dict.fromkeys([*usual, *every]) if tuple(theirs[i] for i in axes) == ours]
    # Where shapes tell nothing, as in a square, an unusual order is no layout but a fault: height and width exchanged.
    for axes in [axes for axes in orders if axes in usual] or orders:
        yield Way(axes, ours, _words(axes))
    if not orders:
        for axes in usual:
            yield Way(axes, ours, "; ".join(filter(None, [_words(axes), f"{theirs} is reshaped to {ours}"])))


def _first(rank: int) -> tuple[int, ...]:
    return (0, rank - 1, *range(1, rank - 1)) if rank > 1 else tuple(range(rank))


def _last(rank: int) -> tuple[int, ...]:
    return (0, *range(2, rank), 1) if rank > 1 else tuple(range(rank))


def _words(axes: tuple[int, ...]) -> str:
    if axes == tuple(range(len(axes))):
        return ""
    if len(axes) > 2 and axes == _first(len(axes)):
        return "channels last in JAX, first in PyTorch"
    return f"JAX's axes in PyTorch's order are {', '.join(map(str, axes))}"


def masked(name: str, ours: np.ndarray, theirs: np.ndarray, mask: Any) -> tuple[str, np.ndarray, np.ndarray]:
    """Return two arrays at the positions that a mask keeps; those that it does not fit are whole."""
    chosen = mask.get(name) if isinstance(mask, Mapping) else mask
    if chosen is None:
        return name, ours, theirs
    keep = to_numpy(chosen).astype(bool)
    if ours.shape == theirs.shape and ours.shape[: keep.ndim] == keep.shape:
        return name, ours[keep], theirs[keep]
    return name, ours, theirs
