"""Where two traces part: the first operations whose operands agree and whose results do not, on both sides.

A value that was not met on the other side is no difference by itself: a scale may be folded in elsewhere, a mask
written with other numbers. It counts only if nothing that is computed from it is met either. What no compared output
depends on is left out, and so is what depends on no input, such as a table of positions: it is judged where it meets
data.
"""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from parity.align.lockstep import Cell, Walk
from parity.trace.fingerprint import Fingerprint
from parity.trace.index import nearest_layout
from parity.trace.values import Op, Trace

AHEAD, CELLS_AHEAD = 12, 80  # PyTorch's operations and JAX's in which a counterpart is looked for
CORRELATED = 0.5  # how much alike a wrong value must be to be taken for the counterpart


class Difference(NamedTuple):
    """An operation of PyTorch's and one of JAX's at which the two part."""

    op: int  # of PyTorch's
    cell: int | None  # number of JAX's, None if none is found
    value: int | None = None  # PyTorch's value that is compared with JAX's `counterpart`
    counterpart: int | None = None  # number of the cell
    arranged: np.ndarray | None = None  # PyTorch's value in the layout of the counterpart


def differences(walk: Walk, targets: Collection[int], results: Sequence[Cell] | None) -> list[Difference]:
    """Return the differences, the first one first; of a walk that ended early, those that it has reached.

    Args:
        walk: what was found.
        targets: numbers of PyTorch's outputs.
        results: cells of JAX's outputs; None if the walk ended early.
    """
    ours, theirs = torch_frontier(walk.trace, walk.found, targets), _jax_frontier(walk, results)
    found = []
    for op in ours:
        cell = _partner(walk, op, theirs, whole=results is not None)
        if cell is None and results is None:
            continue
        found.append(_with_counterpart(walk, Difference(op, cell.number if cell else None)))
    return found


def torch_frontier(trace: Trace, found: Collection[int], targets: Collection[int]) -> list[int]:
    """Return the operations whose data is fine and whose results are not."""
    fine = [number in found for number in range(len(trace.values))]
    used = [number in targets for number in range(len(trace.values))]
    met = {value.maker for n, value in enumerate(trace.values) if value.partial and n in found}
    for op in reversed(range(len(trace.ops))):
        outputs = trace.ops[op].outputs
        good, wanted = any(fine[n] for n in outputs), any(used[n] for n in outputs)
        for number in trace.ops[op].inputs:
            fine[number] = fine[number] or good or (op in met and trace.values[number].data)
            used[number] = used[number] or wanted
    # A view of what is fine is fine: its numbers are the same.
    result = []
    for number, op in enumerate(trace.ops):
        live = [
            n for n in op.outputs if used[n] and trace.values[n].data and trace.values[n].array.dtype.kind in "fiub"
        ]
        data = [n for n in op.inputs if trace.values[n].data]
        # Not any result, but those that are used: the mean of a LayerNorm is right whatever its epsilon is.
        if not all(fine[n] for n in live) and all(fine[n] for n in data):
            result.append(number)
    return result


def _jax_frontier(walk: Walk, results: Sequence[Cell] | None) -> list[Cell]:
    """Return the cells whose parents are fine and which are not."""
    cells = walk.cells
    fine = {id(cell): cell.alike for cell in cells}
    used = {id(cell): results is None for cell in cells} | {id(cell): True for cell in results or ()}
    for cell in reversed(cells):
        for parent in cell.parents:
            if fine[id(cell)] and parent.data:
                fine[id(parent)] = True
            if used.get(id(cell)):
                used[id(parent)] = True
    return [
        cell
        for cell in cells
        if cell.data
        and used[id(cell)]
        and not fine[id(cell)]
        and all(fine.get(id(parent), True) for parent in cell.parents if parent.data)
    ]


def _partner(walk: Walk, op: int, frontier: Sequence[Cell], whole: bool) -> Cell | None:
    """Return JAX's operation that takes most of the same data; of a whole walk, the first one if there is none."""
    wanted = _ancestors(walk.trace, walk.trace.ops[op])
    best, chosen = 0.0, None
    for cell in frontier:
        given = {n for parent in cell.parents if parent.data for n in walk.sources(parent)}
        score = len(given & wanted) / (len(given | wanted) or 1)
        if score > best + 1e-9:
            best, chosen = score, cell
    if chosen is None and frontier and whole:
        chosen = frontier[0]
    return chosen


def _ancestors(trace: Trace, op: Op) -> set[int]:
    return {number for number in op.inputs if trace.values[number].data}


def _with_counterpart(walk: Walk, found: Difference) -> Difference:
    """Find the value of JAX's that stands for PyTorch's result, so that the walk can go on behind the difference."""
    trace = walk.trace
    best: tuple[float, Difference] = (CORRELATED, found)
    start = found.cell if found.cell is not None else 0
    after = [c for c in walk.cells[start : start + CELLS_AHEAD] if c.data and c.computed is not None and not c.same]
    for distance, number in enumerate(_following(trace, found.op)):
        reference = trace.values[number].array
        if number in walk.found or reference.dtype.kind != "f" or reference.size < 3:
            continue
        if isinstance(reference, Fingerprint):  # its numbers are not known: no more than that they differ
            other = next((cell for cell in after if np.size(cell.computed) == reference.size), None)
            if other is not None and best[1].counterpart is None:
                best = CORRELATED, found._replace(value=number, counterpart=other.number)
            continue
        for cell in after:
            array = np.asarray(cell.computed)
            if array.size != reference.size or array.dtype.kind != "f":
                continue
            score, placed = nearest_layout(reference, array)
            score -= 0.02 * distance  # nearer operations first
            if score > best[0] + 1e-6 or (score > best[0] - 0.02 and best[1].counterpart is None):
                best = score, found._replace(value=number, counterpart=cell.number, arranged=placed)
    return best[1]


def _following(trace: Trace, op: int) -> list[int]:
    """Return the numbers of an operation's results, and of those computed from them soon after."""
    numbers, front = [], list(trace.ops[op].outputs)
    seen = set(front)
    while front and len(numbers) < AHEAD:
        number = front.pop(0)
        numbers.append(number)
        for user in trace.users.get(number, ()):
            for other in trace.ops[user].outputs:
                if other not in seen and trace.values[other].data:
                    seen.add(other)
                    front.append(other)
    return numbers
