"""Where tables part: what depends on no input, such as positions, masks and indices, on both sides.

Such values are no data: the walk judges them where they meet data. If a difference is found there, what each side made
its table of is compared, from the start: the first operation whose operands are the other side's and whose result is
not is the difference.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from parity.align.frontier import Difference, Parting
from parity.align.lockstep import NEAR, Cell, Walk
from parity.trace.index import close, laid_out
from parity.trace.lines import Line
from parity.trace.values import two_numbers

BEHIND = 6  # operations behind a difference whose tables are compared, too
LEAST = 3  # numbers of a table
MOST = 10**6  # numbers of a table that is compared
SUMS = {"add": "add", "add_any": "add", "sub": "sub", "mul": "mul", "div": "div"}


class Entry(NamedTuple):
    """One operation of either side on what depends on no input; without `parents`: a weight or a constant."""

    arrays: tuple[np.ndarray, ...]
    parents: tuple[int, ...]  # places of its operands
    line: Line | None


def table_parting(walk: Walk, found: Difference) -> Parting | None:
    """Return the lines at which the tables part that meet data at a difference, None if they do not differ."""
    if found.cell is None:
        return None
    try:
        near = _parting(walk, *_roots(walk, found, 0), strict=False)
        if near is None and _same_sum(walk, found):
            near = _parting(walk, *_roots(walk, found, 0), strict=True)
        return near or _parting(walk, *_roots(walk, found, BEHIND), strict=False)
    except Exception:  # a table that cannot be compared: the difference is known anyway
        return None


def _same_sum(walk: Walk, found: Difference) -> bool:
    """Tell whether both sides do the same with data and table, so that the layout of the table is at fault."""
    name = walk.cells[found.cell or 0].name
    return name in SUMS and SUMS[name] == walk.trace.ops[found.op].name.rstrip("_")


def _roots(walk: Walk, found: Difference, behind: int) -> tuple[list[int], list[Cell]]:
    """Return PyTorch's values and JAX's cells without data that meet data at a difference, or soon behind it."""
    ops, front = [found.op], [found.op]
    for _ in range(behind):
        front = [user for op in front for n in walk.trace.ops[op].outputs for user in walk.trace.users.get(n, ())]
        ops += front
    values = [n for op in dict.fromkeys(ops) for n in walk.trace.ops[op].inputs if not walk.trace.values[n].data]
    start = found.cell or 0
    cells, reached = [walk.cells[start]], {id(walk.cells[start])}
    for cell in walk.cells[start + 1 : start + 1 + 2 * behind]:
        if any(id(parent) in reached for parent in cell.parents):
            reached.add(id(cell))
            cells.append(cell)
    return list(dict.fromkeys(values)), [p for cell in cells for p in cell.parents if not p.data]


def _parting(walk: Walk, values: Sequence[int], cells: Sequence[Cell], *, strict: bool) -> Parting | None:
    ours, our_roots = _torch_entries(walk, values)
    theirs, their_roots = _jax_entries(walk, cells)
    fine, their_fine = _fine(ours, theirs, strict), _fine(theirs, ours, strict)
    if all(fine[n] for n in our_roots) or all(their_fine[n] for n in their_roots):
        return None
    if not _sizes(ours, our_roots, fine) & _sizes(theirs, their_roots, their_fine):  # a mask is no table of positions
        return None
    mine, other = _first(ours, our_roots, fine), _first(theirs, their_roots, their_fine)
    if mine is None or other is None:
        return None
    masks = any(two_numbers(array) for root in our_roots for array in ours[root].arrays if not fine[root])
    return Parting(mine, other, "mask" if masks else "table of positions" if _counted(walk, values) else "table")


def _sizes(entries: Sequence[Entry], roots: Sequence[int], fine: Sequence[bool]) -> set[int]:
    """Return how many numbers the tables have that the other side does not have."""
    return {array.size for root in roots if not fine[root] for array in entries[root].arrays}


def _counted(walk: Walk, values: Sequence[int]) -> bool:
    """Tell whether PyTorch's tables are made from positions."""
    front, seen = list(values), set[int]()
    while front:
        maker = walk.trace.values[front.pop()].maker
        if maker is not None and maker not in seen:
            if walk.trace.ops[maker].name == "arange":
                return True
            seen.add(maker)
            front += walk.trace.ops[maker].inputs
    return False


def _fine(entries: Sequence[Entry], others: Sequence[Entry], strict: bool) -> list[bool]:
    """Tell of each entry whether the other side has it, or something that is computed from it."""
    arrays = [array for other in others for array in other.arrays]
    fine = [
        not e.arrays or all(not _tells(a) or any(_same(a, b, strict) for b in arrays) for a in e.arrays)
        for e in entries
    ]
    for place in reversed(range(len(entries))):
        if fine[place] and any(_tells(array) for array in entries[place].arrays):
            for parent in entries[place].parents:
                fine[parent] = True
    return fine


def _first(entries: Sequence[Entry], roots: Sequence[int], fine: Sequence[bool]) -> Line | None:
    """Return the line of the first operation whose operands are fine and whose result is not."""
    used = set(roots)
    for place in reversed(range(len(entries))):
        used |= set(entries[place].parents) if place in used else set()
    for place, entry in enumerate(entries):
        if place in used and not fine[place] and all(fine[parent] for parent in entry.parents):
            return entry.line
    return None


def _torch_entries(walk: Walk, values: Sequence[int]) -> tuple[list[Entry], list[int]]:
    trace, places, entries = walk.trace, dict[int, int](), list[Entry]()
    wanted, front = set[int](), list(values)
    while front:
        number = front.pop()
        if number not in wanted and not trace.values[number].data:
            wanted.add(number)
            maker = trace.values[number].maker
            front += trace.ops[maker].inputs if maker is not None else ()
    for number in sorted(wanted):  # a value comes after those that it is made of
        value = trace.values[number]
        op = trace.ops[value.maker] if value.maker is not None else None
        given = [n for n in op.inputs if n in places] if op is not None else []
        places[number] = len(entries)
        entries.append(Entry(tuple(_numbers(value.array)), tuple(places[n] for n in given), op.line if op else None))
    return entries, [places[n] for n in values]


def _jax_entries(walk: Walk, cells: Sequence[Cell]) -> tuple[list[Entry], list[int]]:
    places, entries = dict[int, int](), list[Entry]()

    def add(cell: Cell) -> int:
        if id(cell) not in places:
            given = tuple(add(parent) for parent in cell.parents if not parent.data)
            places[id(cell)] = len(entries)
            entries.append(Entry(tuple(_numbers(_array(walk, cell))), given, cell.line))
        return places[id(cell)]

    roots = [add(cell) for cell in cells]
    return entries, roots


def _array(walk: Walk, cell: Cell) -> Any:
    """Return a cell's numbers; those of a symbol, if all of its weights are known."""
    if cell.symbol is None:
        return cell.array
    found = walk.bindings.values(cell.symbol.pieces)
    return None if found is None else cell.symbol.compute(found)


def _numbers(array: Any) -> Iterator[np.ndarray]:
    """Yield the real arrays of which one consists, none if it is not to be compared."""
    if not isinstance(array, np.ndarray) or array.size > MOST:
        return
    if array.dtype.kind == "c":
        yield from (np.ascontiguousarray(array.real), np.ascontiguousarray(array.imag))
    elif array.dtype.kind in "fiub":
        yield array.astype(np.float64)


def _tells(array: np.ndarray) -> bool:
    """Tell whether an array's numbers say what it is."""
    return array.size >= LEAST and bool((array != array.ravel()[0]).any())


def _same(one: np.ndarray, other: np.ndarray, strict: bool) -> bool:
    """Tell whether two tables are the same; masks are, whatever their two numbers are and what they mean."""
    if not _tells(other):
        return False
    if two_numbers(one) and two_numbers(other):
        one, other = (array == array.max() for array in (one, other))
        return _alike(one, other, strict) or _alike(one, ~other, strict)
    return _alike(one, other, strict)


def _alike(one: np.ndarray, other: np.ndarray, strict: bool) -> bool:
    one, other = one.astype(np.float64), other.astype(np.float64)
    if one.size != other.size:  # one side repeats what the other one broadcasts
        few, many = sorted((one, other), key=np.size)
        if not few.size or many.size % few.size:
            return False
        again = np.repeat(np.sort(few, axis=None), many.size // few.size)
        return close(again, np.sort(many, axis=None), NEAR[4])
    if strict:
        return close(one.ravel(), other.ravel(), NEAR[4])
    return laid_out(one, other, NEAR[4]) is not None
