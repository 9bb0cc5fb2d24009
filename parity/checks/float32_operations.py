"""The check of any port in float32, as its user runs it: digits that float64 does not miss, and who loses them.

Two-pass and one-pass variances, exact and expanded squares, `log1p(x)` and `log(1 + x)` are the same in float64.
"""

import copy
import importlib
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from parity.align.pair import PortPair
from parity.align.places import torch_line_of
from parity.report import Failure, Result
from parity.report.compare import Difference, difference, relative_error, worst
from parity.sides.frameworks import x64
from parity.sides.numbers import to_numpy
from parity.sides.outputs import named_leaves, paired
from parity.trace.lines import Line

if TYPE_CHECKING:
    from parity.trace.shadow import Loss, Shadow

CHECK, FORWARD = "float32 forward", 1e-5
# What is computed in float32 must be as near to PyTorch's float64 as PyTorch's float32 is, times this.
AS_NEAR = 5.0
LEAST = 1e-6  # but no nearer than this
MOST_TRIED = 8  # lines that are made exact in turn, to see which of them is the cause


class Program(NamedTuple):
    """The JAX side in 32 bits, and what it is run on."""

    closed: Any
    arrays: list[Any]
    tree: Callable[[list[Any]], Any]

    def run(self, visitor: "Shadow") -> tuple[Any, Any]:
        """Return the output trees in float32 and in float64."""
        shadow = importlib.import_module("parity.trace.shadow")  # here: JAX may be missing
        with x64():
            cells = shadow.run_twice(self.closed, self.arrays, visitor)
        single, exact = ([getattr(cell, name) for cell in cells] for name in ("single", "exact"))
        return self.tree(single), self.tree(exact)


def float32_bounds(pair: PortPair, least: float, mask: Any = None) -> dict[str, float]:
    """Return how far each output may be from float64's in float32: as PyTorch's own is, within a factor."""
    reference = {name: to_numpy(array) for name, array in pair.outputs.items()}
    rows, _ = paired(reference, pair.torch.float32_outputs(pair.torch_inputs), mask)
    return {name: max(least, AS_NEAR * relative_error(ours, own)) for name, ours, own in rows}


def yardstick(pair: PortPair) -> str:
    """Return what is said of a comparison with a side that is float32 inside."""
    return f"float32 inside, judged by PyTorch's own float32 error times {AS_NEAR:g}" if pair.narrow else ""


def check_float32(pair: PortPair, mask: Any = None) -> list[Result]:
    """Compare the outputs in float32 with PyTorch's in float64; nothing, where that has been done already.

    It has, where either side is float32 inside. The program of a record is that of 64 bits.
    """
    if pair.narrow or hasattr(pair.jax, "program"):
        return []
    shadow = importlib.import_module("parity.trace.shadow").Shadow  # here: JAX may be missing
    try:
        program, bounds = _program(pair), float32_bounds(pair, FORWARD, mask)
        single, exact = program.run(shadow())
    except Exception as error:  # arrays of float64 that a side makes itself, an operation that cannot be evaluated
        why = " ".join(str(error).split())[:120]
        note = f"not made: a side cannot be computed so: {type(error).__name__}: {why}"
        return [Result(CHECK, 0.0, FORWARD, "", note)]
    reference = {name: to_numpy(array) for name, array in pair.outputs.items()}

    def rows(tree: Any) -> list[Difference]:
        compared, _ = paired(reference, named_leaves(tree), mask)
        return [difference(name, ours, theirs, bounds.get(name, FORWARD)) for name, ours, theirs in compared]

    found = rows(single)
    if not found:
        return []
    top = worst(found)
    if top.ok:
        return [Result(CHECK, top.error, top.bound, top.name)]
    if not all(row.ok for row in rows(exact)):
        words = f"{top.detail}; it is no rounding: what is traced in 32 bits computes something else in float64, too"
        return [_failed(top, words, None, None)]
    loss = _culprit(program, lambda tree: all(row.ok for row in rows(tree)))
    if loss is None:
        return [_failed(top, f"{top.detail}; in float64 both agree, and no line alone loses the digits", None, None)]
    words = f"{top.detail}; {_words(loss)}; with this line in float64 the outputs agree"
    return [_failed(top, words, torch_line_of(pair.aligned.walk, loss.line), loss.line)]


def _program(pair: PortPair) -> Program:
    """Trace the JAX side in 32 bits, with the weights that PyTorch's make."""
    jax = importlib.import_module("jax")  # here: it may be missing
    trace = importlib.import_module("parity.trace.jax_trace")
    side: Any = copy.copy(pair.jax)
    side.narrow, side.leaves = True, dict(pair.leaves)
    with x64(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a dtype of float64, put in place of a narrower one, is float32 here
        closed, arrays, output = trace.traced_pass(side, pair.jax_inputs)
    structure = jax.tree.structure(output)
    return Program(
        closed, [*jax.tree.leaves(side.leaves), *arrays], lambda leaves: jax.tree.unflatten(structure, leaves)
    )


def _culprit(program: Program, agrees: Callable[[Any], bool]) -> "Loss | None":
    """Return the first line that loses the digits: the outputs agree if it alone is in float64; None if none does."""
    shadow = importlib.import_module("parity.trace.shadow").Shadow  # here: JAX may be missing
    program.run(measured := shadow(measure=relative_error))
    losses: dict[Line | None, Loss] = measured.losses
    cures = lambda line: agrees(program.run(shadow([line]))[0])  # noqa: E731
    lossy = [loss for loss in losses.values() if loss.made > FORWARD / AS_NEAR and loss.line is not None]
    lossy = sorted(lossy, key=lambda loss: loss.gain, reverse=True)[:MOST_TRIED]
    found = next((loss for loss in lossy if cures(loss.line)), None)
    seen = set[Line | None]()
    while found is not None:  # a root enlarges what a difference before it has lost
        seen.add(found.line)
        before = (losses[line] for line in found.sources - seen if line is not None and line in losses)
        earlier = next((loss for loss in before if cures(loss.line)), None)
        if earlier is None:
            return found
        found = earlier
    return None


def _words(loss: "Loss") -> str:
    words = (
        f"float32 loses digits here: {loss.operation} of numbers {loss.given:.1e} off gives one {loss.made:.1e} off"
    )
    if loss.operation == "sub":
        words += ", as the variance E[x^2] - E[x]^2 does far from zero (trap 3)"
    return words


def _failed(top: Difference, words: str, torch_line: Line | None, jax_line: Line | None) -> Result:
    failure = Failure(CHECK, "forward", top.name, top.error, top.bound, words, None, torch_line, jax_line)
    return Result(CHECK, top.error, top.bound, top.name, "", failure._replace(values=top.values))
