"""What makes outputs differ by more than float32's rounding, where no operation alone does."""

from parity.align.lockstep import Cell, Walk
from parity.align.pair import PortPair, in_float64
from parity.checks.failures import failures_of
from parity.report import Failure
from parity.report.compare import Difference
from parity.trace.jax_eval import floating
from parity.trace.lines import Line


def below_float32(pair: PortPair, top: Difference, before: list[Failure]) -> list[Failure]:
    """Return what is found if JAX's float32 is taken for float64, or what was found before if that says more.

    Args:
        pair: the two sides, whose outputs differ.
        top: the output that is furthest off.
        before: failures that were found, none of them with a cause.
    """
    exact = in_float64(pair) if pair.float32 else None
    if exact is None:
        return before
    found = failures_of(exact.differences)
    if not found and not before and (failure := _precision(pair, top)) is not None:
        return [failure]
    return found if found and (not before or any(f.cause for f in found)) else before


def _precision(pair: PortPair, top: Difference) -> Failure | None:
    """Return the failure of a pair that agrees in float64: the line at which the JAX side is least precise."""
    low = _narrowest(walk := pair.aligned.walk)
    if low is None:
        return None
    dtype = low.computed.dtype.name
    cause = f"the precision: with float64 in place of {dtype} both sides agree"
    words = f"{top.detail}; {cause}"
    lines = _line(walk, low), low.line
    failure = Failure("forward, eval", "forward", top.name, top.error, top.bound, words, None, *lines)
    return failure._replace(values=top.values, cause=cause)


def _narrowest(walk: Walk) -> Cell | None:
    """Return the first value that a walk computed in the lowest precision of all, None if all are float64's."""
    found = [cell for cell in walk.cells if cell.line is not None and floating(cell.computed)]
    low = min((cell.computed.dtype.itemsize for cell in found), default=8)
    return next((cell for cell in found if cell.computed.dtype.itemsize == low < 8), None)


def _line(walk: Walk, cell: Cell) -> Line | None:
    """Return PyTorch's line that makes a value, or else the first that uses what the value comes from."""
    ops, given = walk.trace.ops, walk.sources(cell)
    maker = next((m for n in cell.same if (m := walk.trace.values[n].maker) is not None), None)
    return ops[maker].line if maker is not None else next((op.line for op in ops if given & set(op.inputs)), None)
