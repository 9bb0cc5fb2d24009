"""PyTorch's operations run again with other values, to see whether JAX's numbers come out."""

import heapq
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.utils._pytree import tree_map

from parity.align.harmless import HARMLESS
from parity.trace.values import VIEWS, Constant, Op, Ref, Trace

MOST = 14  # operations that are run again behind a changed value


class Guess(NamedTuple):
    """What JAX may have computed: PyTorch's values that would then be others, by number."""

    words: str
    changed: Mapping[int, torch.Tensor]
    given: int | None = None  # what is handed on, if operations are left out
    op: int | None = None  # the operation that is left out, if it is another than the one that was asked about


class Replay:
    """A trace whose operations can be run again."""

    def __init__(self, trace: Trace):
        self.trace = trace

    def op(self, number: int) -> Op:
        """Return an operation."""
        return self.trace.ops[number]

    def tensor(self, number: int) -> torch.Tensor:
        """Return a value as a tensor."""
        return torch.from_numpy(np.array(self.trace.values[number].array))

    def data(self, number: int) -> bool:
        """Tell whether a value depends on the inputs."""
        return self.trace.values[number].data

    def floats(self, number: int) -> bool:
        """Tell whether a value holds real numbers."""
        return self.trace.values[number].array.dtype.kind == "f"

    def args(self, op: Op) -> list[Any]:
        """Return an operation's positional arguments, tensors for references."""
        return self._filled(op.settings, {})

    def run(self, op: Op, changed: Mapping[int, torch.Tensor]) -> list[torch.Tensor]:
        """Run an operation with some values changed."""
        if self.trace.foreign and op.name.rstrip("_") not in HARMLESS:
            raise ValueError(f"{op.name} of a file is not run")
        args, keywords = self._filled(op.settings, changed), self._filled(op.keywords, changed)
        if op.name.endswith("_") and isinstance(args[0], torch.Tensor):
            args[0] = args[0].clone()
        out = getattr(torch.ops.aten, op.name)(*args, **keywords)
        return [t for t in (out if isinstance(out, tuple | list) else [out]) if isinstance(t, torch.Tensor)]

    def follow(self, changed: Mapping[int, torch.Tensor]) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield changed values by number, and what is computed from them, step by step."""
        known = dict(changed)
        yield from changed.items()
        waiting = sorted({op for number in changed for op in self.trace.users.get(number, ())})
        done, left = set(), MOST
        while waiting and left:
            number = heapq.heappop(waiting)
            if number in done or all(n in changed for n in self.op(number).outputs):
                continue
            done.add(number)
            op = self.op(number)
            left -= op.name not in VIEWS
            try:
                results = self.run(op, known)
            except Exception:  # the changed value does not fit
                continue
            for output, result in zip(op.outputs, results, strict=False):
                if output in changed:
                    continue
                known[output] = result
                yield output, result
                for user in self.trace.users.get(output, ()):
                    heapq.heappush(waiting, user)

    def behind(self, number: int, count: int) -> list[int]:
        """Return an operation and those computed from its results soon after, in order."""
        found, front = [], [number]
        while front and len(found) < count:
            op = heapq.heappop(front)
            if op in found:
                continue
            found.append(op)
            for output in self.op(op).outputs:
                for user in self.trace.users.get(output, ()):
                    if user not in found and user not in front:
                        heapq.heappush(front, user)
        return found

    def before(self, number: int, depth: int) -> list[int]:
        """Return the operations that an operation's operands come from, the nearest first."""
        found, front = [], [number]
        for _ in range(depth):
            makers = [self.trace.values[n].maker for op in front for n in self.op(op).inputs]
            front = [m for m in dict.fromkeys(makers) if m is not None and m not in found]
            found += front
        return found

    def source(self, number: int) -> int:
        """Return the value that a value is a view of."""
        while (maker := self.trace.values[number].maker) is not None:
            op = self.op(maker)
            if op.name not in (*VIEWS, "expand") or not op.inputs:
                break
            number = op.inputs[0]
        return number

    def _filled(self, tree: Any, changed: Mapping[int, torch.Tensor]) -> Any:
        def fill(x: Any) -> Any:
            if isinstance(x, Constant):
                return _constant(x)
            if not isinstance(x, Ref):
                return x
            return changed[x.number] if x.number in changed else self.tensor(x.number)

        filled = tree_map(fill, tree, is_leaf=lambda x: isinstance(x, Ref | Constant))
        return list(filled) if isinstance(filled, tuple) else filled


def _constant(constant: Constant) -> Any:
    """Return the dtype, layout or memory format that a record names; the device is this machine's."""
    found = getattr(torch, constant.text.removeprefix("torch."), None)
    return found if isinstance(found, torch.dtype | torch.layout | torch.memory_format) else None
