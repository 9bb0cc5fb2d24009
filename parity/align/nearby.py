"""PyTorch's operations, and the parameters that they use, where a weight of the JAX side meets data."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from parity.align.lockstep import Cell, Walk

BACK = 4  # operations back to the product of which a value is a part


def nearby_ops(walk: "Walk", cells: Sequence["Cell"], hops: int = 1) -> list[int]:
    """Return PyTorch's operations that take the same data, that made it, and that take what they made."""
    trace, numbers = walk.trace, set()
    for cell in cells:
        if cell.data:
            numbers |= walk.sources(cell)
    makers = {m for number in numbers if (m := trace.values[number].maker) is not None}
    numbers |= {n for maker in makers for n in trace.ops[maker].outputs}
    for number in numbers:
        if trace.values[number].partial:  # a part of what was computed before: what was added to the whole counts, too
            makers |= set(trace.makers(number, BACK))
    ops = makers | {op for number in numbers for op in trace.takers(number)}
    for _ in range(hops - 1):
        ops |= {user for op in ops for number in trace.ops[op].outputs for user in trace.takers(number)}
    return sorted(ops)


def nearby_keys(walk: "Walk", cells: Sequence["Cell"], hops: int = 1) -> list[str]:
    """Return the parameters that PyTorch's operations on the same data use, in their order."""
    trace, keys = walk.trace, {}
    ops = nearby_ops(walk, cells, hops)
    for op in ops:
        for number in trace.ops[op].inputs:
            keys |= dict.fromkeys(sorted(trace.values[number].keys))
    if hops > 1:  # what else is put together with the data there: the other half of a recurrent layer's gates
        sides = [
            n for op in ops for n in trace.ops[op].inputs if trace.values[n].data and trace.values[n].maker not in ops
        ]
        for number in sides:
            for op in trace.makers(number, hops):
                for n in trace.ops[op].inputs:
                    keys |= dict.fromkeys(sorted(trace.values[n].keys))
    return list(keys)
