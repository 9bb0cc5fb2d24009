"""JAX's equations in step with PyTorch's trace.

Each of JAX's values is looked for among PyTorch's. What is found is replaced by PyTorch's numbers, so that errors do
not add up: what differs afterwards differs for a reason of its own. Weights are found on the way (`bindings`).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from parity.align import symbols
from parity.align.bindings import Bindings
from parity.align.found import Stop
from parity.align.symbols import Symbol
from parity.align.trial import ZEROS
from parity.trace.fingerprint import Fingerprint
from parity.trace.index import Index, arranged, close, laid_out
from parity.trace.jax_eval import as_numpy, bind, floating, is_floating, is_key
from parity.trace.lines import Line
from parity.trace.values import VIEWS, Trace, is_single

# How near a value must be, after one operation or a few on equal operands, by the precision that it is computed in.
NEAR = {8: 1e-9, 4: 3e-6, 2: 3e-2}
WINDOW = 60  # steps that a walk goes on behind a weight that nothing confirms
LOST = 16  # operations without one that is met, after which a hasty walk ends
# Operations after which the same numbers are in other places.
MOVES = ("roll", "flip", "index", "index_select", "gather", "take", "sort", "rot90", "cat", "stack")
MOST_ALIKE = 8  # values of equal numbers whose layouts are compared


@dataclass(slots=True, eq=False)
class Cell:
    """A value of JAX's: an array, or a symbol for one."""

    array: Any = None
    symbol: Symbol | None = None
    data: bool = False  # whether it depends on the inputs
    bits: int = 8  # bytes of the lowest precision since the last value that was found in PyTorch's trace
    parents: tuple["Cell", ...] = ()
    number: int = -1  # of the step that made it; -1 for inputs, leaves and constants
    name: str = ""  # of the operation
    line: Line | None = None
    same: tuple[int, ...] = ()  # PyTorch's values that hold the same numbers
    alike: bool = False  # whether one of them is laid out like it, up to the order of axes
    narrow: bool = False  # whether it was computed in float32 or from numbers of float32, before PyTorch's were put in
    coarse: bool = False  # whether PyTorch has it in float32's precision, and JAX in float64's
    forced: bool = False  # whether PyTorch's value was put in its place although it differs
    exact: np.ndarray | None = None  # PyTorch's numbers, where the array holds them in a lower precision
    lost: int = 0  # operations since the last value that was met
    computed: Any = None  # what JAX itself computed, before PyTorch's numbers were put in its place

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the shape of the array or the symbol."""
        return self.symbol.shape if self.symbol is not None else tuple(self.array.shape)


@dataclass
class Walk:
    """A visitor of JAX's equations that knows PyTorch's trace."""

    trace: Trace
    index: Index
    low: Index  # of those values that may hold float32's precision only
    bindings: Bindings
    forces: Mapping[int, np.ndarray] = field(default_factory=dict)  # by step: what is put in its place
    near: float = NEAR[8]
    stop: int | None = None  # at which step the walk ends
    hasty: bool = False  # whether the walk ends at a weight that its first operation does not tell
    given_up: Collection[symbols.Piece] | None = None  # weights in doubt that do not end the walk; None: none does
    before: Sequence[Cell] = ()  # cells of an earlier walk that are the same in this one
    zeros: bool = False  # whether weights that meet nothing but zeros stay unknown: their product tells nothing
    cells: list[Cell] = field(default_factory=list)
    found: set[int] = field(default_factory=set)  # PyTorch's values that were met, laid out alike

    def constant(self, array: Any) -> Cell:
        """Return the cell of a constant or a literal."""
        if is_key(array):
            return Cell(array)
        array = np.asarray(array)
        # In the second walk, `near` allows for what float32 has rounded (`parity.align.pair.in_float64`).
        low = self.near <= NEAR[8] and floating(array) and not _whole(array) and is_single(array)
        return Cell(array, bits=min(4, array.dtype.itemsize) if low else 8)

    def input(self, array: Any) -> Cell:
        """Return the cell of an input."""
        cell = Cell(np.asarray(array), data=True)
        self._look_up(cell)
        return cell

    def value(self, cell: Cell) -> Any:
        """Return a cell's array."""
        if cell.symbol is not None:
            cell = self._settled(cell)
        if cell.symbol is not None:
            raise ValueError("a condition depends on a weight that has not met data")
        return cell.array

    def take(self, cell: Cell, index: int) -> Cell:
        """Return one row of a cell."""
        cell = self._settled(cell)
        if cell.symbol is not None:
            row = symbols.row(cell.symbol, index, self.bindings.dtype(cell.symbol))
            return Cell(symbol=row, bits=cell.bits, parents=(cell,), name="slice", line=cell.line)
        if cell.data and len(self.cells) < len(self.before):
            return self._again()
        taken = Cell(cell.array[index], data=cell.data, bits=cell.bits, parents=(cell,), name="slice", line=cell.line)
        return self._kept(taken)

    def stack(self, cells: Sequence[Cell], line: Line | None) -> Cell:
        """Return rows put together."""
        cells = [self._settled(cell) for cell in cells]
        if any(cell.symbol is not None for cell in cells):
            parts = tuple(cells)
            pieces = _pieces(cells)
            make = lambda found: np.stack([_array(c, found) for c in parts])  # noqa: E731
            symbol = Symbol(make, pieces, (len(parts), *parts[0].shape))
            return Cell(symbol=symbol, parents=parts, name="stack", line=line)
        if any(cell.data for cell in cells) and len(self.cells) < len(self.before):
            return self._again()
        array = np.stack([cell.array for cell in cells])
        return self._kept(self._made(array, cells, "stack", line))

    def step(self, equation: Any, line: Line | None, cells: Sequence[Cell]) -> list[Cell]:
        """Compute one equation."""
        cells = [self._settled(cell) for cell in cells]
        unknown = [cell for cell in cells if cell.symbol is not None]
        name = equation.primitive.name
        if unknown and not any(cell.data for cell in cells):
            made = self._symbolic(equation, cells)
            for cell in made:  # the way back, to tell where two tables part
                cell.parents, cell.name, cell.line = tuple(cells), name, line
            return made
        data = any(cell.data for cell in cells)
        if data and len(self.cells) + len(equation.outvars) <= len(self.before):
            return [self._again() for _ in equation.outvars]
        if unknown and self.zeros and name in ZEROS and any(cell.data and not np.any(cell.array) for cell in cells):
            outputs = [np.zeros(v.aval.shape, v.aval.dtype) for v in equation.outvars]
            given = [cell for cell in cells if cell.symbol is None]
            return [self._kept(self._made(array, given, name, line)) for array in outputs]
        if unknown:
            self.bindings.resolve(self, equation, cells)
            cells = [self._settled(cell) for cell in cells]
        if name == "convert_element_type" and cells[0].exact is not None:  # up again: without the rounding on the way
            outputs = [np.asarray(cells[0].exact, equation.params["new_dtype"])]
            bits = _bytes(outputs[0].dtype)
            return [self._kept(self._made(array, cells, name, line), bits) for array in outputs]
        outputs = bind(equation, [cell.array for cell in cells])
        return [self._kept(self._made(array, cells, name, line)) for array in outputs]

    def doubt(self, pieces: Sequence[symbols.Piece]) -> None:
        """End the walk soon, as nothing confirms what these weights are: what follows may."""
        if self.given_up is not None and not set(pieces) <= set(self.given_up) and self.stop is None:
            self.stop = len(self.cells) + WINDOW

    def sources(self, cell: Cell, depth: int = 12) -> set[int]:
        """Return PyTorch's values that a cell is, or else those that it comes from."""
        if cell.same:
            return set(cell.same)
        if depth == 0:
            return set()
        return set().union(*(self.sources(parent, depth - 1) for parent in cell.parents if parent.data))

    def matches(self, array: np.ndarray, bits: int) -> list[int]:
        """Return PyTorch's values that hold these numbers: the nearest precision first that finds any."""
        found = self.index.find(array, self.near if bits == 8 else NEAR[bits])
        if found or bits < 8:
            return found
        return [number for number in self.low.find(array, max(NEAR[4], self.near)) if self._low(number)]

    def holds(self, array: np.ndarray, bits: int, places: np.ndarray | None = None) -> np.ndarray:
        """Tell of each number (or of those at some places) whether it can belong to a part that `matches` finds."""
        held = self.index.holds(array, self.near if bits == 8 else NEAR[bits], places)
        if bits < 8 or not len(self.low):
            return held
        return held | self.low.holds(array, max(NEAR[4], self.near), places)

    def _low(self, number: int, depth: int = 20) -> bool:
        """Tell whether PyTorch's value holds float32's precision only, since the last value that JAX has met."""
        value = self.trace.values[number]
        if value.low or depth == 0:
            return value.low
        if value.maker is None:
            return False
        given = self.trace.ops[value.maker].inputs
        return any(self._low(n, depth - 1) for n in given if n not in self.found)

    def _symbolic(self, equation: Any, cells: Sequence[Cell]) -> list[Cell]:
        """Return symbols for what is computed from weights and constants alone."""
        smaller = self._cut(equation, cells)
        if smaller is not None:
            return smaller
        if equation.primitive.name in ZEROS and any(c.symbol is None and not np.any(c.array) for c in cells):
            return [
                Cell(np.zeros(v.aval.shape, v.aval.dtype)) for v in equation.outvars
            ]  # a state that starts as zero
        pieces = _pieces(cells)
        parts, memo = tuple(cells), {}

        def compute(found: Mapping[Any, Any], position: int) -> Any:
            # The arrays themselves: the id of one that is gone may be another's.
            given = [found.get(piece) for piece in pieces]
            if "given" not in memo or any(a is not b for a, b in zip(memo["given"], given, strict=True)):
                memo["given"], memo["outputs"] = given, bind(equation, [_array(cell, found) for cell in parts])
            return memo["outputs"][position]

        bits = min((cell.bits for cell in cells), default=8)
        return [
            Cell(
                symbol=Symbol(lambda found, p=p: compute(found, p), pieces, variable.aval.shape),
                bits=min(bits, _bytes(variable.aval.dtype)),
            )
            for p, variable in enumerate(equation.outvars)
        ]

    def _cut(self, equation: Any, cells: Sequence[Cell]) -> list[Cell] | None:
        """Return a block of a leaf as a piece of its own."""
        symbol, p, name = cells[0].symbol, equation.params, equation.primitive.name
        if symbol is None or symbol.piece is None:
            return None
        dtype = self.bindings.dtype(symbol)
        if name == "slice" and set(p["strides"] or (1,)) == {1}:
            sizes = [b - a for a, b in zip(p["start_indices"], p["limit_indices"], strict=True)]
            return [Cell(symbol=symbols.cut(symbol, p["start_indices"], sizes, dtype))]
        if name == "dynamic_slice" and all(cell.symbol is None for cell in cells[1:]):
            starts = [int(cell.array) for cell in cells[1:]]
            starts = [min(max(s, 0), n - k) for s, n, k in zip(starts, symbol.shape, p["slice_sizes"], strict=True)]
            return [Cell(symbol=symbols.cut(symbol, starts, p["slice_sizes"], dtype))]
        if name == "split":
            result, at = [], 0
            for size in p["sizes"]:
                starts = [at if axis == p["axis"] else 0 for axis in range(len(symbol.shape))]
                sizes = [size if axis == p["axis"] else n for axis, n in enumerate(symbol.shape)]
                result.append(Cell(symbol=symbols.cut(symbol, starts, sizes, dtype)))
                at += size
            return result
        return None

    def _settled(self, cell: Cell) -> Cell:
        """Return a cell with its array if all of its weights are known."""
        if cell.symbol is None:
            return cell
        found = self.bindings.values(cell.symbol.pieces)
        if found is None:
            return cell
        array = as_numpy(cell.symbol.compute(found))
        return Cell(array, bits=cell.bits, parents=cell.parents, name=cell.name, line=cell.line)

    def _laid_out_so(self, number: int, array: np.ndarray, near: float) -> bool:
        """Tell whether PyTorch's value of the same numbers is this one: what an operation moves need not be."""
        value = self.trace.values[number]
        while value.maker is not None and self.trace.ops[value.maker].name in VIEWS:
            value = self.trace.values[self.trace.ops[value.maker].inputs[0]]
        if value.maker is None or self.trace.ops[value.maker].name not in MOVES:
            return True
        return laid_out(self.trace.values[number].array, array, near) is not None

    def _made(self, array: Any, cells: Sequence[Cell], name: str, line: Line | None) -> Cell:
        bits = min([cell.bits for cell in cells], default=8)
        data = any(cell.data for cell in cells)
        if floating(array) and not _whole(array):  # zeros and ones are exact in any precision
            bits = min(bits, _bytes(array.dtype))
        return Cell(array, data=data, bits=bits, parents=tuple(cells), name=name, line=line)

    def _again(self) -> Cell:
        """Return the next cell of the earlier walk."""
        cell = self.before[len(self.cells)]
        self.cells.append(cell)
        if cell.alike:
            self.found.update(cell.same)
        return cell

    def _kept(self, cell: Cell, bits: int | None = None) -> Cell:
        """Number a cell that depends on data, and look it up; what does not is no step, be it known or not."""
        cell.bits = bits or cell.bits
        if not cell.data:
            return cell
        cell.number, cell.narrow = len(self.cells), cell.bits < 8
        if self.stop is not None and cell.number > self.stop:
            raise Stop
        self.cells.append(cell)
        if not is_key(cell.array):
            cell.computed = cell.array
            if cell.number in self.forces:
                cell.forced, cell.alike = True, True
                cell.array = np.asarray(self.forces[cell.number], cell.array.dtype)
            self._look_up(cell)
        if not cell.same and not cell.forced:
            cell.lost = 1 + max((parent.lost for parent in cell.parents if parent.data), default=0)
            if self.hasty and cell.lost > LOST:
                raise Stop
        return cell

    def _look_up(self, cell: Cell) -> None:
        """Find a cell's numbers in PyTorch's trace, and put PyTorch's in their place."""
        array = np.asarray(cell.array)
        if array.dtype.kind not in "fiub" or array.size == 0:
            return
        array = array.astype(np.float64)
        cell.same = tuple(self.matches(array, cell.bits))
        best = None
        near = max(self.near, NEAR[4] if cell.bits < 8 or any(self._low(n) for n in cell.same) else 0, NEAR[cell.bits])
        order = sorted(cell.same, key=lambda n: self.trace.values[n].array.shape != array.shape)
        for number in order[:MOST_ALIKE]:
            reference = self.trace.values[number].array
            if reference.dtype.kind in "fiub":
                best = laid_out(reference, array, near)
            if best is not None:
                break
        cell.alike = cell.alike or best is not None
        if best is not None:
            self.found |= {n for n in cell.same if n in self.found or self._laid_out_so(n, array, near)}
        known = [a for n in cell.same if not isinstance(a := self.trace.values[n].array, Fingerprint)]
        if known and best is not array and floating(cell.array):
            if best is None:
                best = arranged(known[0], array)
            if close(best, array, near):
                cell.exact = best
                cell.coarse = cell.alike and cell.bits == 8 and not close(best, array, self.near)
                cell.array = np.asarray(best, cell.array.dtype)
                cell.bits = 8 if cell.array.dtype.itemsize >= 8 else cell.array.dtype.itemsize


def _pieces(cells: Sequence[Cell]) -> tuple[symbols.Piece, ...]:
    return tuple(dict.fromkeys(piece for cell in cells if cell.symbol is not None for piece in cell.symbol.pieces))


def _whole(array: Any) -> bool:
    """Tell whether an array holds nothing but whole numbers, such as a mask."""
    array = np.asarray(array, np.float64)
    return bool((array == np.round(array)).all())


def _array(cell: Cell, found: Mapping[Any, Any]) -> Any:
    return cell.array if cell.symbol is None else cell.symbol.compute(found)


def _bytes(dtype: Any) -> int:
    return min(8, dtype.itemsize) if is_floating(dtype) else 8
