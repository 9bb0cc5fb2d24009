"""The other side's operation where one side has something of its own, and what each side's gradient comes from."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from parity.align.backward import Parting, Pulled
from parity.align.matched import Use, unmatched
from parity.align.passes import Passes
from parity.align.tape import STOP, Entry, Node
from parity.trace.lines import Line
from parity.trace.values import VIEWS


class Counterparts:
    """The operations on both sides of a group of values, or a parameter, that hands back something else."""

    def __init__(self, passes: Passes, parting: Parting, state: Pulled):
        self.passes, self.torch, self.parting, self.state = passes, passes.torch, parting, state
        self.group, self.key = parting.group, parting.key
        self.trace = passes.torch.trace
        live = [u for u in parting.uses if u.array is not None and np.any(u.array)]
        other = [u for u in parting.their_uses if u.array is not None and np.any(u.array)]
        self.left, self.their_left = unmatched(live, other, passes.near)
        if self.group is not None:
            self.nodes = list(self.group.nodes)
            self.numbers = list(self.group.numbers)
        else:
            rules = passes.pair.weights.rules
            self.nodes = [n for p, n in passes.leaves.items() if p in rules and self.key in rules[p].sources]
            self.numbers = [n for n, v in enumerate(self.trace.values) if v.maker is None and self.key in v.keys]

    def twin_op(self, entry: Entry) -> tuple[int | None, Line | None]:
        """Return PyTorch's operation, and its line, where JAX has a rule of its own."""
        stacks = self.torch.stacks
        pairs = [(use.entry.stack, op) for use in self._behind(entry) if use.entry and (op := self._user_of(use))]
        makers = [n.maker for n in self.nodes if n.maker is not None and n.maker is not entry]
        made = [m for n in self.numbers if (m := self.trace.values[n].maker) is not None]
        sources = [(m.stack, made[0]) for m in makers if made and m.name != STOP and self.group is not None]
        for stack, op in _statements(entry.line, pairs, sources):
            return op, counterpart(entry.line, stack, stacks.get(op, ()))
        op = self.torch_op() if not pairs else pairs[0][1]
        users = [use.entry.stack for use in self._behind(entry) if use.entry] if not pairs and op is not None else []
        for stack, found in _statements(entry.line, [(stack, op) for stack in users], ()):
            return found, counterpart(entry.line, stack, stacks.get(found, ()))
        return op, None

    def _behind(self, entry: Entry) -> list[Use]:
        """Return what is added to a rule's result by its users, in the group's layout if it is in the group."""
        found, front = [], list(entry.outputs)
        while front:
            node = front.pop()
            for user, array in self.state.kept.get(node, ()):
                if user is not None and array is not None and user.place >= 0:
                    if self._same_numbers(user, node):
                        front += user.outputs
                        continue
                    group = self.group if self._in_group(node) else None
                    placed = array if group is None else group.arranged(node, node.array, array)
                    found.append(Use(None, user, placed))
        return found

    def _in_group(self, node: Node) -> bool:
        return self.group is not None and node in self.group.nodes

    def _same_numbers(self, entry: Entry, node: Node) -> bool:
        return len(entry.outputs) == 1 and self._in_group(node) and self._in_group(entry.outputs[0])

    def _user_of(self, use: Use) -> int | None:
        """Return PyTorch's operation that adds the same as one of JAX's."""
        for other in self.parting.uses:
            if other.array is not None and other.op is not None and use.array is not None:
                same = other.array.shape == use.array.shape and self.passes.same(other.array, use.array)
                if same and np.any(other.array):
                    return self._with_data(other.op)
        return None

    def twin_entry(self, number: int, line: Line | None) -> tuple[Entry | None, Line | None]:
        """Return JAX's operation, and its line, where PyTorch has a value that autograd does not follow."""
        assert self.group is not None
        edge, value, pairs = self.torch.edges.get(number), self.trace.values[number].array, []
        for use in () if edge is None else self.torch.uses.get(edge, ()):
            array = None if use.array is None else self.group.arranged(number, value, use.array)
            op, entry = self.torch.makers.get(use.node), self._entry_of(array)
            entry = entry or self.jax_entry()  # PyTorch may compute at once what JAX computes in several operations
            if op is not None and entry is not None:
                pairs.append((self.torch.stacks.get(op, ()), entry))
        ops = [m for n in self.numbers if (m := self.trace.values[n].maker) is not None]
        made = min((n.maker for n in self.nodes if n.maker is not None), key=lambda e: e.place, default=None)
        stacks = [self.torch.stacks.get(m, ()) for m in ops if self.trace.ops[m].name not in VIEWS]
        for stack, entry in _statements(line, pairs, [(stack, made) for stack in stacks if made is not None]):
            return entry, counterpart(line, stack, entry.stack)
        return (pairs[0][1] if pairs else self.jax_entry()), None

    def _entry_of(self, array: np.ndarray | None) -> Entry | None:
        for use in self.parting.their_uses:
            if use.array is None or array is None or use.entry is None or not np.any(array):
                continue
            if self.passes.same(array, use.array):
                return self._data_entry(use.entry)
        return None

    def jax_entry(self) -> Entry | None:
        """Return JAX's operation that adds what PyTorch's do not, or nothing where they add something."""
        left = [u for u in self.their_left if u.entry is not None]
        if left:
            return self._data_entry(max(left, key=_size).entry)
        silent = [u.entry for u in self.parting.their_uses if u.entry and (u.array is None or not np.any(u.array))]
        dead = [e for n in self.nodes for e in n.uses if not any(o.active for o in e.outputs)]
        others = [u.entry for u in self.parting.their_uses if u.entry is not None]
        made = [n.maker for n in self.nodes if n.maker is not None]
        entry = next(iter([*silent, *dead, *others, *made]), None)
        return self._data_entry(entry)

    def _data_entry(self, entry: Entry | None) -> Entry | None:
        """Return the operation in which a weight that is reshaped before meets data."""
        for _ in range(8):
            if entry is None or entry.data or not entry.outputs or not entry.outputs[0].uses:
                break
            entry = entry.outputs[0].uses[0]
        return entry

    def torch_op(self) -> int | None:
        """Return PyTorch's operation that adds what JAX's do not, or nothing where they add something."""
        left = [u for u in self.left if u.op is not None]
        if left:
            return self._with_data(max(left, key=_size).op)
        silent = [u.op for u in self.parting.uses if u.op is not None and (u.array is None or not np.any(u.array))]
        known = {u.op for u in self.parting.uses}
        dead = [
            op
            for n in self.numbers
            for op in self.trace.users.get(n, ())
            if op not in known and self.trace.ops[op].name not in VIEWS
        ]
        others = [u.op for u in self.parting.uses if u.op is not None]
        made = [m for n in self.numbers if (m := self.trace.values[n].maker) is not None]
        return self._with_data(next(iter([*silent, *dead, *others, *made]), None))

    def _with_data(self, op: int | None) -> int | None:
        """Return the operation in which a weight that is reshaped before meets data."""
        for _ in range(8):
            if op is None or any(self.trace.values[n].data for n in self.trace.ops[op].inputs):
                break
            users = [user for n in self.trace.ops[op].outputs for user in self.trace.users.get(n, ())]
            op = users[0] if users else None
        return op


def _statements(line: Line | None, users: Sequence[Any], makers: Sequence[Any]) -> Iterator[Any]:
    """Yield the pairs of a stack and an operation that a line belongs to: users first, then what makes the value."""
    for pairs in (users, makers):
        yield from (pair for pair in pairs if pair[0] and pair[0][0] == line)
        yield from (pair for pair in pairs if line in pair[0])


def counterpart(line: Line | None, stack: Sequence[Line], other: Sequence[Line]) -> Line | None:
    """Return the line of another stack that is the call in which a line of one is, None if it is the innermost."""
    if line is None or line not in stack[1:] or not other:
        return None
    outer = len(stack) - 1 - list(stack).index(line)  # calls further out
    return other[max(len(other) - 1 - outer, 0)]


def _size(use: Use) -> float:
    size = 0.0 if use.array is None else float(np.linalg.norm(use.array))
    return size if np.isfinite(size) else np.inf
