"""Which operation it is at which two backward passes part, on which line of each side, and what it looks like.

A `stop_gradient`, or a derivative that a user has written, is named if without it JAX's cotangent is PyTorch's; a
`detach()`, `no_grad` or hook of PyTorch's if what it keeps back is the difference.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

import numpy as np

from parity.align.backward import Contributions, Parting, Pulled, delivered, partings, total
from parity.align.counterparts import Counterparts
from parity.align.kinks import words_of
from parity.align.pair import PortPair
from parity.align.passes import Passes, both_passes
from parity.align.tape import CUSTOM, OWN_RULES, STOP, Entry, Node, pulled
from parity.sides.arrays import x64
from parity.trace.lines import Line
from parity.trace.values import VIEWS

MOST_ENTRIES = 600  # that a region has
# Operations that hand back what they are handed.
LAYOUTS = (
    "reshape",
    "transpose",
    "squeeze",
    "expand_dims",
    "broadcast_in_dim",
    "convert_element_type",
    "copy",
    "slice",
)


class GradientDifference(NamedTuple):
    """An operation whose gradient differs."""

    torch_line: Line | None
    jax_line: Line | None
    words: str
    ours: np.ndarray  # PyTorch's cotangent
    theirs: np.ndarray
    scope: str  # PyTorch's module


class _Place(NamedTuple):
    """PyTorch's operation and JAX's, or the lines instead of them."""

    op: int | None
    entry: Entry | None
    words: str
    torch_line: Line | None = None
    jax_line: Line | None = None


def gradient_differences(pair: PortPair, cotangents: Mapping[str, np.ndarray]) -> list[GradientDifference]:
    """Return the operations whose gradients differ, the first of the backward pass first, each once.

    Args:
        pair: both sides, which agree in the forward pass.
        cotangents: of PyTorch's outputs, by name.
    """
    found: dict[tuple[Line | None, Line | None], GradientDifference] = {}
    with x64():
        passes = both_passes(pair, cotangents)
        for parting, state in partings(passes):
            place = _Culprit(passes, parting, state).place()
            torch_line = place.torch_line or passes.torch.line(place.op)
            jax_line = place.jax_line or (place.entry.line if place.entry is not None else None)
            scope = passes.torch.trace.ops[place.op].scope if place.op is not None else ""
            one = GradientDifference(torch_line, jax_line, place.words, parting.ours, parting.theirs, scope)
            found.setdefault((torch_line, jax_line), one)
    return list(found.values())


class _Culprit(Counterparts):
    """Looks for the operation between a group that hands back something else and what agrees behind it."""

    def __init__(self, passes: Passes, parting: Parting, state: Pulled):
        super().__init__(passes, parting, state)
        self.inside, self.region = self._region()

    def place(self) -> _Place:
        """Return the two operations and what is said of them."""
        for find in (self._own_rule, self._opened, self._hook, self._function, self._within):
            if (place := find()) is not None:
                return place
        return self._operations()

    # JAX's side: rules of its own.

    def _region(self) -> tuple[set[Node], list[Entry]]:
        """Return JAX's values and operations from here on, up to values whose cotangents agree."""
        inside, region, front = set(self.nodes), dict[Entry, None](), list(self.nodes)
        while front and len(region) < MOST_ENTRIES:
            for entry in front.pop().uses:
                if entry in region:
                    continue
                region[entry] = None
                for node in (*entry.outputs, *entry.inside):
                    if node.active and node not in inside and not self._settled(node):
                        inside.add(node)
                        front.append(node)
        return inside, sorted(region, key=lambda entry: entry.place)

    def _settled(self, node: Node) -> bool:
        group = self.passes.groups.get(node)
        return group is not None and group is not self.group and group in self.state.agreed

    def _own_rule(self) -> _Place | None:
        """Find JAX's `stop_gradient` or own derivative without which both sides agree."""
        rules = [e for e in self.region if e.name in OWN_RULES and any(n.active for n in e.operands)]
        by_line: dict[Line | None, list[Entry]] = {}
        for entry in rules:
            by_line.setdefault(entry.line, []).append(entry)
        stops = [e for e in rules if e.name == STOP]
        tries = [[e] for e in reversed(rules)] + [list(v) for v in by_line.values() if len(v) > 1]
        for opened in [*tries, *([stops] if len(stops) > 1 else [])]:
            if not self._agrees_with(opened):
                continue
            entry = opened[-1]
            if entry.name == STOP:
                words = "JAX's stop_gradient lets no gradient through here; without it the gradients agree"
            else:
                words = (
                    f"JAX's own rule of the derivative ({entry.name.removesuffix('_call')}) is not the derivative of "
                    "what is computed, with which the gradients agree"
                )
            op, line = self.twin_op(entry)
            return _Place(op, entry, words, line)
        return None

    def _agrees_with(self, opened: Collection[Entry]) -> bool:
        """Tell whether JAX hands back what PyTorch does if some entries have the derivative of what they compute."""
        kept = self._rerun(opened)
        if self.group is not None:
            theirs = delivered(self.group, kept)
            return theirs is not None and self.passes.same(self.parting.ours, theirs)
        whole = np.zeros(self.parting.ours.shape)
        shapes = {key: array.shape for key, array in self.passes.pair.torch.parameters.items()}
        for path, node in self.passes.leaves.items():
            if node in self.nodes and (array := total(kept, node)) is not None:
                rule = self.passes.pair.weights.rules[path]
                whole = whole + rule.back(np.asarray(array, np.float64), shapes).get(self.key, 0.0)
        return self.passes.same(self.parting.ours, whole)

    def _rerun(self, opened: Collection[Entry]) -> Contributions:
        """Walk the region backwards once more."""
        before = self.state.kept
        kept: Contributions = {
            node: [(entry, array) for entry, array in before.get(node, ()) if entry is None] for node in self.inside
        }
        for entry in reversed(self.region):
            given = [total(kept if node in self.inside else before, node) for node in entry.outputs]
            for node, array in pulled(entry, given, opened):
                if node in self.inside or node in entry.inside:
                    kept.setdefault(node, []).append((entry, array))
        return kept

    # PyTorch's side.

    def _torch_region(self) -> Iterator[int]:
        """Yield PyTorch's operations from here on, up to values whose cotangents agree."""
        agreed = {n for g in self.state.agreed if g is not self.group for n in g.numbers}
        seen, front = set(), list(self.numbers)
        while front and len(seen) < MOST_ENTRIES:
            for op in self.trace.users.get(front.pop(0), ()):
                if op not in seen:
                    seen.add(op)
                    yield op
                    front += [n for n in self.trace.ops[op].outputs if n not in agreed]

    def _opened(self) -> _Place | None:
        """Find PyTorch's `detach()` or `no_grad`."""
        ops = list(self._torch_region())
        made = {n for op in ops for n in self.trace.ops[op].outputs}
        inside = [n for n in self.numbers if n in self.torch.opened]
        for number in [*inside, *(n for n in sorted(made - {*inside}) if n in self.torch.opened)]:
            value = self.trace.values[number]
            array = self.torch.cotangent(number)
            if array is None or not np.any(array) or value.maker is None:
                continue
            if number in inside and self.group is not None and not self._is_difference(number, array):
                continue
            op = value.maker
            is_detach = self.trace.ops[op].name == "detach"
            how = "detach()" if is_detach else "no_grad"
            words = f"PyTorch's {how} lets no gradient through here (detached); JAX has no stop_gradient in its place"
            line = self.torch.line(op)
            own = number in inside and self.group is not None
            entry, other = self.twin_entry(number, line) if own else (self.jax_entry(), None)
            return _Place(op, entry, words, None, other)
        if self.key and not self.left and (op := next((o for o in ops if self._cuts(o)), None)) is not None:
            how = "detach()" if self.trace.ops[op].name == "detach" else "no_grad"
            return _Place(op, self.jax_entry(), f"PyTorch's {how} lets no gradient through to the weight here")
        return None

    def _cuts(self, op: int) -> bool:
        """Tell whether autograd does not follow an operation's result, which something is computed from."""
        outputs = self.trace.ops[op].outputs
        return any(self.trace.users.get(n) for n in outputs) and not any(n in self.torch.edges for n in outputs)

    def _is_difference(self, number: int, array: np.ndarray) -> bool:
        """Tell whether what a detached value keeps back is what the two sides differ by."""
        assert self.group is not None
        placed = self.group.arranged(number, self.trace.values[number].array, array)
        return placed is not None and self.passes.same(self.parting.ours + placed, self.parting.theirs)

    def _hook(self) -> _Place | None:
        """Find a hook of PyTorch's that changes a gradient."""
        number = next((n for n in self.numbers if n in self.torch.hooks), None)
        if number is None:
            return None
        words = "a hook of PyTorch's changes the gradient here" + words_of(self.parting, None, self.group)
        made = [n.maker for n in self.nodes if n.maker is not None]
        entry = min(made, key=lambda e: e.place) if made else self.jax_entry()
        return _Place(self.trace.values[number].maker, entry, words, self.torch.hooks[number])

    def _function(self) -> _Place | None:
        """Find a Function of PyTorch's user, whose backward is its own."""
        ops = [use.op for use in self.left if use.op in self.torch.calls]
        if not ops and self.group is not None:
            ops = [op for op in self._torch_region() if op in self.torch.calls and not self.left]
        if not ops:
            return None
        entry = self.jax_entry()
        words = "PyTorch's gradient is that of an autograd.Function, whose backward is not JAX's derivative"
        return _Place(ops[0], entry, words + words_of(self.parting, entry, self.group))

    # Neither side has a rule of its own.

    def _within(self) -> _Place | None:
        """Find an operation that leaves the numbers as they are, such as a bound that nothing reaches."""
        if self.group is None or self.left or self.their_left:
            return None
        own = set(self.group.nodes)
        entries = {e for n in own for e, array in self.state.kept.get(n, ()) if e is not None and own & {*e.outputs}}
        changed = [e for e in entries if e.name not in LAYOUTS and self._changes(e)]
        inside = [e for e in entries if e.name not in LAYOUTS]
        numbers = set(self.numbers)
        ops = [
            op
            for number in self.numbers
            for op in self.trace.users.get(number, ())
            if numbers & {*self.trace.ops[op].outputs} and self.trace.ops[op].name not in VIEWS
        ]
        if not changed and not ops:
            return None
        entry = max(changed or inside, key=lambda e: e.place, default=None) or self.jax_entry()
        words = "the gradients of this operation differ" + words_of(self.parting, entry, self.group)
        return _Place(ops[-1] if ops else self.torch_op(), entry, words)

    def _changes(self, entry: Entry) -> bool:
        """Tell whether an operation of the group hands back something else than it is handed."""
        assert self.group is not None
        given = total(self.state.kept, entry.outputs[0])
        for node in entry.operands:
            for user, array in self.state.kept.get(node, ()):
                if user is entry and array is not None and given is not None and node in self.group.nodes:
                    one = self.group.arranged(node, node.array, array)
                    other = self.group.arranged(entry.outputs[0], entry.outputs[0].array, given)
                    return one is not None and other is not None and not self.passes.same(one, other)
        return False

    def _operations(self) -> _Place:
        entry, op = self.jax_entry(), self.torch_op()
        words = "the gradients of this operation differ" + words_of(self.parting, entry, self.group)
        if entry is not None and entry.name in CUSTOM:
            words = f"JAX's own rule of the derivative ({entry.name.removesuffix('_call')}): {words}"
        return _Place(op, entry, words)
