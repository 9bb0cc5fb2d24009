"""The first operation whose gradient differs, where both sides' forward passes agree.

PyTorch's autograd tells the cotangent of every value that it recorded. JAX's tape is walked backwards, and where a
value has a counterpart, what it hands back is compared, and PyTorch's numbers are put in the place of others: so each
independent difference is found once, between a value that hands back something else and the values behind it, which
hand back the same.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from parity.align.matched import Group, Use, sources, torch_sources
from parity.align.passes import Passes
from parity.align.tape import STOP, Entry, Node, pulled


class Parting(NamedTuple):
    """A group of values, or a tensor of PyTorch's, that hands back something else on either side."""

    ours: np.ndarray
    theirs: np.ndarray
    uses: list[Use]  # PyTorch's
    their_uses: list[Use]
    group: Group | None = None
    key: str = ""  # of a parameter


CORRECTION = Entry(-1, "", None, [], [])  # stands for what PyTorch's numbers add
ZERO = 1e3  # times the floor: what is smaller says nothing
MOST = 6  # differences that are looked for
Contributions = dict[Node, list[tuple[Entry | None, np.ndarray | None]]]


@dataclass
class Pulled:
    """JAX's backward pass, and how each group compares with PyTorch's."""

    kept: Contributions
    compared: dict[Group, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)  # in backward order
    agreed: set[Group] = field(default_factory=set)
    uses: dict[str, list[Use]] = field(default_factory=dict)  # of parameters
    bad_keys: dict[str, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)


def partings(passes: Passes) -> Iterator[tuple[Parting, Pulled]]:
    """Yield where the two backward passes part, the first one first, each with the pass that found it."""
    corrected: set[Group] = set()
    inputs = [group for node, group in passes.groups.items() if node.maker is None]
    first = _first_nodes(passes.groups)
    while len(corrected) < MOST:
        pulled_ = _pulled(passes, first, corrected)
        excused = _Excused(passes, pulled_)
        bad = [g for g in pulled_.compared if g not in pulled_.agreed | corrected]
        group = next((g for g in bad if g not in inputs and not excused(g)), None)
        if group is None and not corrected and not pulled_.bad_keys:  # the gradient of an input alone
            group = next((g for g in bad if g in inputs), None)
        if group is None:
            break
        corrected.add(group)
        ours, theirs = pulled_.compared[group]
        yield Parting(ours, theirs, torch_uses(passes, group), uses(group, pulled_.kept), group), pulled_
    else:
        return
    for key, (ours, theirs) in pulled_.bad_keys.items():
        torch = passes.torch
        own = [Use(torch.makers.get(u.node), None, u.array) for u in torch.uses.get(torch.keys[key], ())]
        yield Parting(ours, theirs, own, pulled_.uses[key], key=key), pulled_


def _pulled(passes: Passes, first: Mapping[Node, Group], corrected: Collection[Group]) -> Pulled:
    """Walk JAX's tape backwards; put PyTorch's numbers in the place of what some groups hand back."""
    kept: Contributions = {node: [(None, seed)] for node, seed in passes.seeds.items()}
    found = Pulled(kept)
    for entry in reversed(passes.tape.entries):
        for node in entry.outputs:
            group = first.get(node)
            if group is None:
                continue
            ours, theirs = torch_delivered(passes, group), delivered(group, kept)
            if ours is None or theirs is None:
                continue
            found.compared[group] = ours, theirs
            if passes.same(ours, theirs):
                found.agreed.add(group)
            elif group in corrected:
                found.agreed.add(group)
                _correct(kept, group, node, ours, theirs)
        for node, array in pulled(entry, [total(kept, node) for node in entry.outputs]):
            kept.setdefault(node, []).append((entry, array))
    for group in {g for node, g in passes.groups.items() if node.maker is None}:
        ours, theirs = torch_delivered(passes, group), delivered(group, kept)
        if ours is not None and theirs is not None:
            found.compared[group] = ours, theirs
            if group in corrected or passes.same(ours, theirs):
                found.agreed.add(group)
    _weights(passes, found)
    return found


def _correct(kept: Contributions, group: Group, node: Node, ours: np.ndarray, theirs: np.ndarray) -> None:
    """Let a group hand back PyTorch's numbers, by the node of it that is computed first."""
    if np.isfinite(theirs).all():
        kept.setdefault(node, []).append((CORRECTION, group.back(node, ours - theirs)))
    else:  # nothing can be added to what is not finite
        kept[node] = [(CORRECTION, group.back(node, ours))]


class _Excused:
    """Tells whether a group that hands back something else is no difference: what it is computed from agrees.

    A value that PyTorch uses in one form and JAX in another, such as both halves of a vector, has other users on each
    side; together they agree.
    """

    def __init__(self, passes: Passes, found: Pulled):
        self.passes, self.found = passes, found
        self.known: dict[Group, bool] = {}
        self.paths = {node: path for path, node in passes.leaves.items()}

    def __call__(self, group: Group) -> bool:
        if group not in self.known:
            self.known[group] = False
            nodes = upstream(self.passes, group)
            weights = [self._weight(node) for node in nodes if node not in self.passes.groups]
            if False not in weights:
                values = [self._value(self.passes.groups[node]) for node in nodes if node in self.passes.groups]
                self.known[group] = True in [*weights, *values] and False not in values
        return self.known[group]

    def _value(self, group: Group) -> bool | None:
        """Tell whether what is computed from agrees; None: it tells nothing."""
        if group in self.found.agreed:
            return True if self._tells(self.found.compared[group][0]) else None
        return self(group) if group in self.found.compared else None

    def _weight(self, node: Node) -> bool | None:
        rule = self.passes.pair.weights.rules.get(self.paths.get(node, ""))
        if rule is None:
            return None
        if any(key in self.found.bad_keys for key in rule.sources):
            return False if len(node.uses) == 1 else None  # of several uses another may be at fault
        edges = [self.passes.torch.keys.get(key) for key in rule.sources]
        arrays = self.passes.torch.arrays
        return True if any(edge in arrays and self._tells(arrays[edge]) for edge in edges) else None

    def _tells(self, array: np.ndarray) -> bool:
        """Tell whether a cotangent is not zero but for rounding, as that of a bias before a softmax is."""
        return bool(np.linalg.norm(array) > ZERO * self.passes.floor)


def upstream(passes: Passes, group: Group) -> list[Node]:
    """Return the nearest values with a counterpart, and weights, that a group is computed from."""
    found, seen, front = [], set[Node](), list(sources(group.nodes))
    while front:
        maker = front.pop().maker
        for node in maker.operands if maker is not None and maker.name != STOP else ():
            if node in seen or not node.active:
                continue
            seen.add(node)
            other = passes.groups.get(node)
            if (other is not None and other is not group) or node.maker is None:
                found.append(node)
            else:
                front.append(node)
    return found


def _first_nodes(groups: Mapping[Node, Group]) -> dict[Node, Group]:
    """Return the groups by the node that is computed first, where all that uses them is behind."""
    first: dict[Node, Group] = {}
    for group in dict.fromkeys(groups.values()):
        if all(node.maker is not None for node in group.nodes):
            first[min(group.nodes, key=lambda node: node.maker.place if node.maker else 0)] = group
    return first


def total(kept: Contributions, node: Node) -> np.ndarray | None:
    """Return a node's cotangent, None if nothing reaches it."""
    arrays = [array for _, array in kept.get(node, ()) if array is not None]
    return sum(arrays[1:], start=arrays[0]) if arrays else None


def torch_delivered(passes: Passes, group: Group) -> np.ndarray | None:
    """Return what PyTorch's values hand back, in the layout of the reference."""
    torch, whole = passes.torch, np.zeros(group.reference.shape)
    for number in torch_sources(torch.trace, group.numbers):
        array = torch.cotangent(number)
        if array is None or number in torch.opened:
            continue
        placed = group.arranged(number, torch.trace.values[number].array, array)
        if placed is None:
            return None
        whole = whole + placed
    return whole


def delivered(group: Group, kept: Contributions) -> np.ndarray | None:
    """Return what JAX's values hand back, in the layout of the reference."""
    whole = np.zeros(group.reference.shape)
    for node in sources(group.nodes):
        array = total(kept, node)
        placed = group.arranged(node, node.array, np.zeros(np.shape(node.array)) if array is None else array)
        if placed is None:
            return None
        whole = whole + placed
    return whole


def torch_uses(passes: Passes, group: Group) -> list[Use]:
    """Return what is added to PyTorch's cotangents by operations outside of a group."""
    torch = passes.torch
    own = {torch.edges[n] for n in group.numbers if n in torch.edges}
    inside, seen, found = {edge[0] for edge in own}, set(), []
    for number in group.numbers:
        edge = torch.edges.get(number)
        if edge is None or edge in seen:
            continue
        seen.add(edge)
        value = torch.trace.values[number].array
        for use in torch.uses.get(edge, ()):
            if use.node not in inside:
                array = None if use.array is None else group.arranged(number, value, use.array)
                found.append(Use(torch.makers.get(use.node), None, array))
    return found


def uses(group: Group, kept: Contributions, nodes: Collection[Node] | None = None) -> list[Use]:
    """Return what is added to JAX's cotangents by operations outside of a group."""
    own, sums = set(group.nodes), dict[Entry | None, np.ndarray | None]()
    for node in group.nodes if nodes is None else nodes:
        for entry, array in kept.get(node, ()):
            if entry is CORRECTION or (entry is not None and own & set(entry.outputs)):
                continue
            placed = None if array is None else group.arranged(node, node.array, array)
            old = sums.get(entry)
            sums[entry] = placed if old is None else old if placed is None else old + placed
    return [Use(None, entry, array) for entry, array in sums.items()]


def _weights(passes: Passes, found: Pulled) -> None:
    """Compare the gradients of parameters, and keep what each use of theirs adds."""
    pair, torch = passes.pair, passes.torch
    shapes = {key: array.shape for key, array in pair.torch.parameters.items()}
    for path, node in passes.leaves.items():
        rule = pair.weights.rules.get(path)
        if rule is None or not node.active:
            continue
        for key in rule.sources:
            found.uses.setdefault(key, [])
        for entry, array in found.kept.get(node, ()):
            given = np.zeros(np.shape(node.array)) if array is None else np.asarray(array, np.float64)
            for key, part in rule.back(given, shapes).items():
                found.uses.setdefault(key, []).append(Use(None, entry, part))
    for key, edge in torch.keys.items():
        if key in found.uses:
            zeros = np.zeros(shapes[key])
            ours = torch.arrays.get(edge, zeros)
            theirs = sum((u.array for u in found.uses[key]), start=zeros)  # type: ignore[misc]
            if not passes.same(ours, theirs):
                found.bad_keys[key] = ours, theirs
