"""Values that are the same on both sides, with their cotangents: what the backward passes are compared at.

Values of equal numbers make one group, whatever their layout is, and however often each side computes them. What a
group hands back to what it is computed from must be the same on both sides.
"""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from parity.align.cotangents import TorchCotangents
from parity.align.tape import STOP, Entry, Node
from parity.trace.index import close, layouts
from parity.trace.values import Trace

FIRST = 64  # numbers that are compared before all are
SAME = 1e-7  # how near two values are that are laid out alike


class Use(NamedTuple):
    """What one operation adds to a cotangent; in a group, in the layout of its reference."""

    op: int | None  # PyTorch's operation
    entry: Entry | None  # JAX's
    array: np.ndarray | None  # None: nothing


@dataclass(eq=False)
class Group:
    """Values of one and the same numbers."""

    numbers: list[int]  # PyTorch's
    nodes: list[Node]  # JAX's
    reference: np.ndarray
    _places: dict[Any, np.ndarray | None] = field(default_factory=dict)

    def arranged(self, member: int | Node, value: np.ndarray, array: np.ndarray) -> np.ndarray | None:
        """Return a member's cotangent in the layout of the reference, None if it cannot be told."""
        if member not in self._places:
            self._places[member] = placed(self.reference, np.asarray(value, np.float64))
        places = self._places[member]
        return None if places is None else np.asarray(array, np.float64).ravel()[places].reshape(self.reference.shape)

    def back(self, node: Node, array: np.ndarray) -> np.ndarray:
        """Return an array in the reference's layout in a node's."""
        places = self._places[node]
        assert places is not None
        out = np.empty(array.size)
        out[places] = array.ravel()
        return out.reshape(np.shape(node.array))


def placed(reference: np.ndarray, found: np.ndarray) -> np.ndarray | None:
    """Return where each number of the reference, flattened, is in `found`, None if they are not alike."""
    here = np.arange(found.size)
    flat, target = found.ravel(), np.asarray(reference, np.float64).ravel()

    def fits(places: np.ndarray) -> bool:
        return bool(close(target[:FIRST], flat[places[:FIRST]], SAME)) and close(target, flat[places], SAME)

    for order in layouts(here.reshape(found.shape), reference.shape):
        if fits(order.ravel()):
            return order.ravel()
    for order in layouts(here.reshape(reference.shape), found.shape):
        places = np.argsort(order.ravel())
        if fits(places):
            return places
    a, b = np.argsort(target, kind="stable"), np.argsort(flat, kind="stable")
    gaps = np.diff(target[a])
    if gaps.size == 0 or gaps.min() <= SAME * np.abs(target).max():
        return None
    places = np.empty(found.size, int)
    places[a] = b
    return places if fits(places) else None


def grouped(torch: TorchCotangents, nodes: Iterable[Node], same: Sequence[Sequence[int]]) -> dict[Node, Group]:
    """Return the group of each of JAX's nodes that has PyTorch's counterpart.

    Args:
        torch: PyTorch's pass.
        nodes: JAX's values that have a gradient.
        same: by the number of a node, PyTorch's values that hold the same numbers.
    """
    parents: dict[int, int] = {}

    def root(number: int) -> int:
        while parents.setdefault(number, number) != number:
            number = parents[number]
        return number

    values, members = torch.trace.values, dict[Node, int]()
    for node in nodes:
        found = [n for n in same[node.number] if values[n].array.dtype.kind == "f" and not values[n].partial]
        if node.inner or not node.active or not found or not _tells(node.array):
            continue
        for number in found:
            parents[root(number)] = root(found[0])
        members[node] = found[0]
    groups: dict[int, Group] = {}
    for number in list(parents):
        groups.setdefault(root(number), Group([], [], np.empty(0))).numbers.append(number)
    for node, number in members.items():
        groups[root(number)].nodes.append(node)
    for group in groups.values():
        group.numbers.sort()
        first = next((n for n in group.numbers if n in torch.edges), None)
        group.reference = np.asarray(values[group.numbers[0] if first is None else first].array, np.float64)
    known = {group for group in groups.values() if any(n in torch.edges for n in group.numbers)}
    return {node: groups[root(number)] for node, number in members.items() if groups[root(number)] in known}


def _tells(array: Any) -> bool:
    """Tell whether an array's numbers say what it is: it is not the same number throughout."""
    array = np.asarray(array, np.float64)
    return array.size == 1 or bool(np.nanmax(array) > np.nanmin(array)) if array.size else False


def sources(nodes: Sequence[Node]) -> list[Node]:
    """Return the nodes that are not computed from others of them, along a way that has a gradient."""
    own, first = set(nodes), min(_place(node) for node in nodes)

    def above(node: Node) -> Iterator[Node]:
        seen, front = set(), [node]
        while front:
            other = front.pop()
            maker = other.maker
            if maker is None or maker in seen or maker.place < first or (maker.name == STOP and other not in own):
                continue
            seen.add(maker)
            front += maker.operands
            yield from maker.operands

    return [node for node in nodes if len(nodes) == 1 or not any(other in own for other in above(node))]


def _place(node: Node) -> int:
    return -1 if node.maker is None else node.maker.place


def torch_sources(trace: Trace, numbers: Sequence[int]) -> list[int]:
    """Return PyTorch's values that are not computed from others of them, along a way that has a gradient."""
    own = set(numbers)
    first = min(-1 if (m := trace.values[n].maker) is None else m for n in numbers)

    def above(number: int) -> Iterator[int]:
        seen, front = set(), [number]
        while front:
            other = front.pop()
            maker = trace.values[other].maker
            if maker is None or maker in seen or maker < first:
                continue
            if trace.ops[maker].name == "detach" and other not in own:
                continue
            seen.add(maker)
            front += trace.ops[maker].inputs
            yield from trace.ops[maker].inputs

    return [n for n in numbers if len(numbers) == 1 or not any(other in own for other in above(n))]


MOST_LEFT, MOST_SUMMED = 10, 4


def unmatched(ours: Sequence[Use], theirs: Sequence[Use], near: float) -> tuple[list[Use], list[Use]]:
    """Return what neither side's uses explain of the other's: equal ones, and sums of several, are left out."""
    left, right = list(ours), list(theirs)
    for many in range(1, MOST_SUMMED + 1):
        for swap in (False, True):
            one, several = (right, left) if swap else (left, right)
            for use in list(one):
                if use.array is None or len(several) > MOST_LEFT:
                    continue
                for some in itertools.combinations([u for u in several if u.array is not None], many):
                    if equal(use.array, sum(u.array for u in some), near):  # type: ignore[misc]
                        one[:] = [u for u in one if u is not use]
                        several[:] = [u for u in several if not any(u is v for v in some)]
                        break
    return left, right


def equal(reference: np.ndarray, found: Any, near: float, floor: float = 0.0) -> bool:
    """Tell whether two cotangents agree; what is not finite agrees with nothing."""
    sizes = np.linalg.norm(reference), np.linalg.norm(found)
    return bool(np.linalg.norm(reference - found) <= near * max(sizes) + floor)
