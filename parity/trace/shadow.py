"""A JAX program in float32 beside itself in float64: how many digits are lost, and at which line.

Every value is computed twice, in float32 from what float32 made before it, and in float64 from float64's. Decisions
are float64's in both: an index, a comparison or a sign that a rounding turns is a jump and no loss of digits.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

import numpy as np

from parity.trace.jax_eval import as_numpy, bind, evaluate, floating, is_key
from parity.trace.lines import Line
from parity.trace.low import restored
from parity.trace.widened import wide_equation

DECISIONS = ("sign", "floor", "ceil", "round")
Measure = Callable[[np.ndarray, np.ndarray], float]  # the relative error of the second array
ROUNDING = 2.0**-24  # half a unit in the last place of float32


class Twice(NamedTuple):
    """A value in float32 and in float64; what holds no real numbers is the same in both."""

    single: Any
    exact: Any
    line: Line | None = None  # at which it was made


class Loss(NamedTuple):
    """How a line of the program loses digits."""

    line: Line | None
    operation: str  # the one that loses most
    given: float  # relative error of its operands, the largest
    made: float  # and of its result
    sources: frozenset[Line | None]  # where its operands were made

    @property
    def gain(self) -> float:
        """Return by how much it enlarges the error that it is given."""
        return self.made / max(self.given, ROUNDING)


class Shadow:
    """A visitor that computes everything twice, in float64 both times where a line is to be exact."""

    def __init__(self, exact_lines: Collection[Line | None] = (), measure: Measure | None = None):
        """Keep which lines are to be exact, and by what errors are measured, if they are."""
        self.exact_lines, self.measure = exact_lines, measure
        self.losses: dict[Line | None, Loss] = {}  # by line, the largest, in the order in which lines are run

    def constant(self, array: Any) -> Twice:
        """Return a constant, which stands for a decimal number."""
        array = array if is_key(array) else as_numpy(array)
        return Twice(array, array if is_key(array) else restored(array))

    def step(self, equation: Any, line: Line | None, cells: Sequence[Twice]) -> list[Twice]:
        """Compute an equation's results twice."""
        exact = bind(wide_equation(equation), [cell.exact for cell in cells])
        single = bind(equation, [cell.single for cell in cells])
        decided = equation.primitive.name in DECISIONS or line in self.exact_lines
        made = [
            Twice(_as(e, s) if decided or not _real(s) else s, e, line) for s, e in zip(single, exact, strict=True)
        ]
        if self.measure is not None:
            self._measured(self.measure, equation.primitive.name, line, cells, made)
        return made

    def _measured(
        self, measure: Measure, operation: str, line: Line | None, cells: Sequence[Twice], made: Sequence[Twice]
    ) -> None:
        """Keep what a line loses most by, and where it has its operands from."""
        real = ([cell for cell in some if _real(cell.single)] for some in (cells, made))
        errors = ([measure(np.asarray(cell.exact), np.asarray(cell.single)) for cell in some] for some in real)
        given, result = (max(some, default=0.0) for some in errors)
        loss = Loss(line, operation, given, result, frozenset(cell.line for cell in cells))
        before = self.losses.get(line, loss)
        largest = max(before, loss, key=lambda one: one.gain)
        self.losses[line] = largest._replace(sources=before.sources | loss.sources)

    def value(self, cell: Twice) -> Any:
        """Return what a branch or a loop is decided by."""
        return cell.exact

    def take(self, cell: Twice, index: int) -> Twice:
        """Return one row."""
        return Twice(cell.single[index], cell.exact[index], cell.line)

    def stack(self, cells: Sequence[Twice], line: Line | None) -> Twice:
        """Return rows put together."""
        return Twice(np.stack([cell.single for cell in cells]), np.stack([cell.exact for cell in cells]), line)


def run_twice(closed: Any, arrays: Sequence[Any], visitor: Shadow) -> list[Twice]:
    """Run a program that was traced in 32 bits on arrays, as numpy's in float64, under `x64`."""
    with np.errstate(all="ignore"):
        return evaluate(closed.jaxpr, closed.consts, [Twice(as_numpy(a), as_numpy(a)) for a in arrays], visitor)


def _as(exact: Any, single: Any) -> Any:
    """Return an exact result in the dtype of the other."""
    return exact if is_key(exact) else np.asarray(exact, single.dtype)


def _real(array: Any) -> bool:
    return not is_key(array) and floating(array)
