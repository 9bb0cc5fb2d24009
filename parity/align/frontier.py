"""Where two traces part: the first operations whose operands agree and whose results do not, on both sides.

A value that was not met on the other side is no difference by itself: a scale may be folded in elsewhere, a mask
written with other numbers. It counts only if nothing that is computed from it is met either. What no compared output
depends on is left out, and so is what depends on no input, such as a table of positions: it is judged where it meets
data. So is a mask, though it is made from an input.
"""

import itertools
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from parity.align.lockstep import Cell, Walk
from parity.trace.fingerprint import Fingerprint
from parity.trace.index import MOST_ORDERS, centred, close, layouts, nearest_layout
from parity.trace.lines import Line
from parity.trace.values import Op, Trace, two_numbers

AHEAD, CELLS_AHEAD = 12, 80  # PyTorch's operations and JAX's in which a counterpart is looked for
CORRELATED = 0.1  # how much alike a wrong value must be to be tried as the counterpart
STEPS = 3  # of a loop, at least
CHANCE = 2.0  # standard deviations by which numbers correlate that have nothing to do with each other


class Parting(NamedTuple):
    """Where what depends on no input parts."""

    torch_line: Line
    jax_line: Line
    what: str  # "mask", "table of positions" or "table"


class Difference(NamedTuple):
    """An operation of PyTorch's and one of JAX's at which the two part."""

    op: int  # of PyTorch's
    cell: int | None  # number of JAX's, None if none is found
    value: int | None = None  # PyTorch's value that is compared with JAX's `counterpart`
    counterpart: int | None = None  # number of the cell
    arranged: np.ndarray | None = None  # PyTorch's value in the layout of the counterpart
    score: float = 0.0  # how well the two correlate
    here: bool = False  # whether both are of the lines at which the two part
    tables: Parting | None = None  # where tables part that meet data here
    joined: int | None = None  # PyTorch's operation at which several come together that are as likely as this one


def differences(walk: Walk, targets: Collection[int], results: Sequence[Cell] | None) -> list[Difference]:
    """Return the differences, the first one first; of a walk that ended early, those that it has reached.

    Args:
        walk: what was found.
        targets: numbers of PyTorch's outputs.
        results: cells of JAX's outputs; None if the walk ended early.
    """
    ours, theirs = torch_frontier(walk.trace, walk.found, targets), _jax_frontier(walk, results)
    best: dict[int, tuple[float, int]] = {}  # by cell: of several operations the one that has most in common with it
    alike: dict[int, list[int]] = {}  # by cell: those that have as much in common with it
    for op in ours:
        score, cell = _partner(walk, op, theirs)
        before = best.get(cell.number, (0.0, 0))[0] if cell is not None else 0.0
        if cell is not None and score > before + 1e-9:
            best[cell.number], alike[cell.number] = (score, op), [op]
        elif cell is not None and abs(score - before) < 1e-9:
            alike[cell.number].append(op)
    if best:  # what is left now is looked at again behind these
        found = [Difference(op, n, joined=_joined(walk.trace, alike[n])) for n, (_, op) in best.items()]
        return sorted(found, key=lambda d: d.op)
    if results is None:
        return []
    first = theirs[0].number if theirs else None
    return [Difference(op, first) for op in ours]


def _joined(trace: Trace, ops: Sequence[int]) -> int | None:
    """Return the first operation that depends on several ones, None if there is none soon."""
    reached = []
    for op in ops:
        front, seen = [op], set[int]()
        for _ in range(AHEAD):
            front = [user for one in front for n in trace.ops[one].outputs for user in trace.users.get(n, ())]
            seen.update(front)
        reached.append(seen)
    return min(set.intersection(*reached), default=None) if len(ops) > 1 else None


def torch_frontier(trace: Trace, found: Collection[int], targets: Collection[int]) -> list[int]:
    """Return the operations whose data is fine and whose results are not."""
    fine = [number in found or mask for number, mask in enumerate(trace.masks())]
    used = [number in targets for number in range(len(trace.values))]
    met = {value.maker for n, value in enumerate(trace.values) if value.partial and n in found}
    for op in reversed(range(len(trace.ops))):
        outputs = trace.ops[op].outputs
        good, wanted = any(fine[n] for n in outputs), any(used[n] for n in outputs)
        for number in trace.ops[op].inputs:
            fine[number] = fine[number] or good or (op in met and trace.values[number].data)
            used[number] = used[number] or wanted
    for op in trace.ops:  # complex numbers are not compared: the first real ones that are made of them are
        if all(fine[n] for n in op.inputs if trace.values[n].data):
            for number in op.outputs:
                fine[number] = fine[number] or trace.values[number].array.dtype.kind == "c"
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
    masks = _masks(cells)
    # The steps of a loop may be stacked in the opposite order: what is done with them tells.
    turned = {id(cell) for cell in cells if cell.same and _is_stack(cell)}
    fine = {id(cell): cell.alike or id(cell) in masks or id(cell) in turned for cell in cells}
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


def _is_stack(cell: Cell) -> bool:
    """Tell whether a cell is the stack of a loop's steps, which is a concatenation if the loop is unrolled."""
    if cell.name != "concatenate" or len(cell.parents) < STEPS:
        return cell.name == "stack"
    shapes = {parent.shape for parent in cell.parents}
    return len(shapes) == 1 and 1 in shapes.pop() and all(p.name == "broadcast_in_dim" for p in cell.parents)


def _masks(cells: Sequence[Cell]) -> set[int]:
    """Return the cells of two numbers that are made from integers or truth values alone: masks."""
    whole, masks = set[int](), set[int]()
    for cell in cells:
        given = [parent for parent in cell.parents if parent.data]
        if all(id(p) in whole or (p.number < 0 and p.array.dtype.kind in "iub") for p in given):
            whole.add(id(cell))
            if cell.computed is not None and two_numbers(np.asarray(cell.computed)):
                masks.add(id(cell))
    return masks


def _partner(walk: Walk, op: int, frontier: Sequence[Cell]) -> tuple[float, Cell | None]:
    """Return JAX's operation that takes most of the same data, and which share it has; None if none takes any."""
    wanted = _ancestors(walk.trace, walk.trace.ops[op])
    best, chosen = 0.0, None
    for cell in frontier:
        given = {n for parent in cell.parents if parent.data for n in walk.sources(parent)}
        score = len(given & wanted) / (len(given | wanted) or 1)
        if score > best + 1e-9:
            best, chosen = score, cell
    return best, chosen


def _ancestors(trace: Trace, op: Op) -> set[int]:
    return {number for number in op.inputs if trace.values[number].data}


def counterparts(walk: Walk, found: Difference) -> list[Difference]:
    """Return values of JAX's that may stand for PyTorch's result, the most alike first; the walk goes on behind it."""
    trace, ranked = walk.trace, list[tuple[float, Difference]]()
    start = found.cell if found.cell is not None else 0
    after = [c for c in walk.cells[start : start + CELLS_AHEAD] if c.data and c.computed is not None and not c.same]
    order = _order(walk, found)
    for distance, number in enumerate(_following(trace, found.op)):
        reference = trace.values[number].array
        if number in walk.found or reference.dtype.kind != "f" or reference.size < 3:
            continue
        if isinstance(reference, Fingerprint):  # its numbers are not known
            continue
        for cell in after:
            array = np.asarray(cell.computed)
            if array.size != reference.size or array.dtype.kind != "f":
                continue
            score, placed = nearest_layout(reference, array)
            # Nearer operations first; few numbers correlate by chance.
            rank = score - 0.02 * distance - CHANCE / np.sqrt(reference.size)
            here = number in trace.ops[found.op].outputs and cell.line == walk.cells[start].line
            turned = _turned(reference, order) if here and order is not None else None
            if turned is not None and turned.shape == array.shape:
                score, placed = _correlation(turned, array), turned
            if rank > CORRELATED or here:  # the likely ones, be they ever so different
                option = found._replace(value=number, counterpart=cell.number, arranged=placed, score=score)
                ranked.append((rank, option._replace(here=here)))
    return [d for _, d in sorted(ranked, key=lambda pair: -round(pair[0], 6))]


def _order(walk: Walk, found: Difference) -> tuple[int, ...] | None:
    """Return the order of axes in which JAX's operation has an operand of PyTorch's; its result has it, too."""
    parents = walk.cells[found.cell].parents if found.cell is not None else ()
    for given, parent in itertools.product(walk.trace.ops[found.op].inputs, parents):
        operand = walk.trace.values[given].array
        if isinstance(operand, Fingerprint) or given not in parent.same or not parent.alike:
            continue
        if operand.ndim != parent.array.ndim:
            continue
        for order in itertools.islice(itertools.permutations(range(operand.ndim)), MOST_ORDERS):
            turned = operand.transpose(order)
            if turned.shape == parent.array.shape and close(turned, np.asarray(parent.array, np.float64), 1e-6):
                return order
    return None


def _turned(array: np.ndarray, order: tuple[int, ...]) -> np.ndarray | None:
    return array.transpose(order) if array.ndim == len(order) else None


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    one, other = centred(one), centred(other)
    return float(one.ravel() @ other.ravel())


def handed_on(walk: Walk, found: Difference) -> Iterator[Difference]:
    """Yield operands of JAX's operation in whose place a result would be, if JAX leaves PyTorch's operations out."""
    op, trace = walk.trace.ops[found.op], walk.trace
    if found.cell is None:
        return
    for out, given in itertools.product(_following(trace, found.op), op.inputs):
        result, operand = trace.values[out].array, trace.values[given].array
        if isinstance(result, Fingerprint) or isinstance(operand, Fingerprint):
            continue
        if result.shape != operand.shape or result.dtype.kind != "f" or not trace.values[given].data:
            continue
        for parent in walk.cells[found.cell].parents:
            if parent.number < 0 or given not in parent.same or parent.array.size != operand.size:
                continue
            both = zip(layouts(operand, parent.array.shape), layouts(result, parent.array.shape), strict=True)
            placed = next((theirs for ours, theirs in both if close(ours, parent.array, 1e-6)), None)
            if placed is not None:
                yield found._replace(value=out, counterpart=parent.number, arranged=placed)


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
