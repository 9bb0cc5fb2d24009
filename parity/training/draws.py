"""What a JAX training step draws: known before a step, as it depends on its keys alone.

Draws are seen as calls of `jax.random`, by name.
"""

import contextlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from parity.sides.random_draws import JAX, MASK, OTHER, UNIFORM, Draw, draws_numbers
from parity.trace.jax_eval import line_of
from parity.trace.lines import Line
from parity.training.supply import Drawn
from parity.training.tape import Node, Tape, program_backward


class DrawingTape(Tape):
    """A tape that keeps what JAX draws in its forward pass."""

    def __init__(self, program: Any):
        super().__init__(program)
        self.drawn: list[Drawn] = []
        self._inside = False

    def call(self, equation: Any, cells: Sequence[Node], inside: Callable[[], list[Node]]) -> list[Node]:
        """Evaluate a call; keep what it draws."""
        kind = JAX.get(str(equation.params.get("name", "")))
        if kind is None or self._inside:
            return inside()
        self._inside = True
        found = inside()
        self._inside = False
        if id(equation) not in self.backward:  # there, a mask is made once more
            numbers, given = np.asarray(found[0].array, np.float64), [np.asarray(c.array) for c in cells[1:]]
            keep = float(given[0]) if kind == MASK and given and given[0].size == 1 else None
            if kind == UNIFORM and len(given) > 1:
                numbers = (numbers - given[0]) / (given[1] - given[0])
            self.drawn.append(Drawn(Draw(kind, numbers.shape, keep, line_of(equation)), numbers))
        return found

    def step(self, equation: Any, line: Line | None, cells: Sequence[Node]) -> list[Node]:
        """Compute one equation; bits that no function with a name draws are of no kind that PyTorch can be given."""
        found = super().step(equation, line, cells)
        if equation.primitive.name == "random_bits" and not self._inside and id(equation) not in self.backward:
            self.drawn.append(Drawn(Draw(OTHER, np.shape(found[0].array), None, line), np.asarray(found[0].array)))
        return found


def jax_draws(theirs: Any, batches: Sequence[Any]) -> list[list[Drawn]]:
    """Return what JAX draws at each step, in order."""
    leaves, found = dict(theirs.leaves), list[list[Drawn]]()
    for batch in batches:
        program = theirs.program(batch)
        program_backward(program)
        if not any(e.primitive.name == "random_bits" or draws_numbers(e) for e in program.closed.jaxpr.eqns):
            found.append([])
            continue
        tape = DrawingTape(program)
        tape.run(leaves, batch)
        leaves = {leaf: np.asarray(node.array, leaves[leaf].dtype) for leaf, node in tape.outputs.items()}
        found.append(tape.drawn)
    return found


@contextlib.contextmanager
def named_draws() -> Iterator[None]:
    """Keep the names of `jax.random`'s functions where a step is traced without those of its own that are jitted."""
    inner = inspect.unwrap(jax.random.bernoulli).__globals__
    before = {name: inner[name] for name in JAX if name in inner}
    inner.update({name: _jitted(function) for name, function in before.items()})
    try:
        yield
    finally:
        inner.update(before)


def _jitted(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        with jax.disable_jit(False):
            return function(*args, **kwargs)

    return call
