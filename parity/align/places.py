"""The lines of a difference on both sides, and what one side leaves out."""

from collections.abc import Sequence

import numpy as np

from parity.align.frontier import Difference
from parity.align.lockstep import Cell, Walk
from parity.trace.index import close
from parity.trace.lines import Line

# PyTorch's operations of two arrays, and JAX's: one without an effect may stand for another one with it.
CHANGES = {"add": "add", "sub": "sub", "mul": "mul", "div": "div", "where": "select_n", "masked_fill": "select_n"}


def lines_of(walk: Walk, found: Difference) -> tuple[Line | None, Line | None]:
    """Return the lines of the two operations at which the sides part."""
    op = walk.trace.ops[found.op]
    cells = walk.cells[found.cell :] if found.cell is not None else walk.cells[::-1]  # JAX may end early: its last one
    if found.cell is not None and op.name.rstrip("_") in CHANGES and cells[0].name not in CHANGES.values():
        without = next((parent for parent in cells[0].parents if _without_effect(parent)), None)
        cells = [without] if without is not None and without.line else cells
    return op.line, cells[0].line if cells else None


def _without_effect(cell: Cell) -> bool:
    """Tell whether a cell is one of its operands, such as a sum with zeros: a mask that hides nothing."""
    same = set(cell.same)
    return cell.data and cell.name in CHANGES.values() and any(same & set(p.same) for p in cell.parents if p.data)


def torch_line_of(walk: Walk, line: Line | None) -> Line | None:
    """Return PyTorch's line that makes what a line of JAX's does, or the first that both sides have after it."""
    last = max((place for place, cell in enumerate(walk.cells) if cell.line == line), default=len(walk.cells))
    makers = (walk.trace.values[number].maker for cell in walk.cells[last:] for number in cell.same)
    return next((walk.trace.ops[maker].line for maker in makers if maker is not None), None)


def lines_of_outputs(
    walk: Walk, results: Sequence[Cell], pairs: Sequence[tuple[np.ndarray, np.ndarray]]
) -> tuple[Line | None, Line | None]:
    """Return the lines at which outputs are made that differ although every operation agrees: others are returned.

    Of several outputs, the last line of each side is taken, at which they are put together.
    """
    mine, theirs = list[Line](), list[Line]()
    for ours, found in pairs:
        values = [v for v in walk.trace.values if v.data and v.maker is not None and not v.partial]
        made = next((walk.trace.ops[v.maker or 0].line for v in reversed(values) if _equal(v.array, ours)), None)
        cells = [cell for cell in results if cell.array is not None and _equal(cell.array, found)]
        mine += [made] if made else []
        theirs += [cell.line for cell in cells[:1] if cell.line]
    return _last(mine), _last(theirs)


def _last(lines: Sequence[Line]) -> Line | None:
    return max(lines, key=lambda line: line.number, default=None)


def _equal(one: np.ndarray, other: np.ndarray) -> bool:
    one, other = np.asarray(one), np.asarray(other)
    if one.size != other.size or one.dtype.kind not in "fiub":
        return False
    return close(np.sort(one, axis=None).astype(np.float64), np.sort(other, axis=None).astype(np.float64), 1e-6)


def line_without(walk: Walk, found: Difference, given: int, first: bool = False) -> Line | None:
    """Return JAX's line at which an operation of PyTorch's is left out: what it is given there is handed on.

    That is where the operand is used next, unless PyTorch's operation belongs to the module that made the operand,
    and the next one to another: then it is where the operand is made, at the end of a block. `first`: the operand is
    used before the sides part, too.
    """
    trace, op = walk.trace, walk.trace.ops[found.op]
    cells = [cell for cell in walk.cells[: found.cell] if cell.alike and not cell.forced and cell.line]
    made = next((cell.line for cell in reversed(cells) if given in cell.same), None)
    used = walk.cells[found.cell].line if found.cell is not None else None
    if first:  # of several uses, as in a residual block, the first whose result PyTorch does not have
        takers = [c for c in walk.cells if c.line and any(given in parent.same for parent in c.parents)]
        alone = [cell for cell in takers if not cell.alike or cell.forced]
        used = next((cell.line for cell in [*alone, *takers]), used)
    maker = trace.values[given].maker
    users = [user for number in op.outputs for user in trace.takers(number)]
    if made is None or used is None or maker is None or not users:
        return used or made
    near = _common(op.scope, trace.ops[maker].scope) > _common(op.scope, trace.ops[min(users)].scope)
    return made if near else used


def _common(one: str, other: str) -> int:
    """Return how many names two scopes begin with in common."""
    pairs = list(zip(one.split("."), other.split("."), strict=False))
    return next((n for n, (a, b) in enumerate(pairs) if a != b), len(pairs))
