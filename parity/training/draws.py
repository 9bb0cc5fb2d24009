"""What a JAX training step draws: known before a step, as it depends on its keys alone.

Draws are seen as calls of `jax.random`, by name.
"""

import contextlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from parity.sides.random_draws import JAX, MASK, OTHER, UNIFORM, Draw, draws_numbers
from parity.trace.jax_eval import is_key, line_of
from parity.trace.lines import Line
from parity.training.supply import Drawn
from parity.training.tape import Node, Tape
from parity.training.wide_casts import casts


class Call(NamedTuple):
    """One draw, of the forward pass or made once more in the backward pass."""

    equation: int  # its id
    key: bytes
    draw: Draw
    number: int | None  # which draw of the forward pass it is; None: of the backward pass
    array: np.ndarray  # as the step has it
    bounds: tuple[Any, Any]  # of uniform numbers


class DrawingTape(Tape):
    """A tape that keeps what JAX draws in its forward pass, and each of its calls."""

    def __init__(self, program: Any):
        super().__init__(program)
        self.drawn: list[Drawn] = []
        self.calls: list[Call] = []
        self._inside = False

    def call(self, equation: Any, cells: Sequence[Node], inside: Callable[[], list[Node]]) -> list[Node]:
        """Evaluate a call; keep what it draws."""
        kind = JAX.get(str(equation.params.get("name", "")))
        if kind is None or self._inside:
            return inside()
        self._inside = True
        found = inside()
        self._inside = False
        array, given = np.asarray(found[0].array), [np.asarray(c.array) for c in cells[1:]]
        numbers = np.asarray(array, np.float64)
        bounds: tuple[Any, Any] = (0.0, 1.0)
        # The last operands are the arguments: constants of the function come before them.
        keep = float(given[-1].item()) if kind == MASK and given and given[-1].size == 1 else None
        if kind == UNIFORM and len(given) > 1:
            bounds = given[-2], given[-1]
            numbers = (numbers - bounds[0]) / (bounds[1] - bounds[0])
        drawn = Drawn(Draw(kind, numbers.shape, keep, line_of(equation)), numbers)
        self._note(equation, cells[0].array, drawn, array, bounds)
        return found

    def _note(
        self, equation: Any, key: Any, drawn: Drawn, array: np.ndarray, bounds: tuple[Any, Any] = (0.0, 1.0)
    ) -> None:
        """Note a draw; in the backward pass a mask is made once more."""
        data = np.asarray(jax.random.key_data(key) if is_key(key) else key)
        keys = tuple(row.tobytes() for row in data.reshape(-1, data.shape[-1])) if data.ndim else ()
        drawn, number = drawn._replace(draw=drawn.draw._replace(keys=keys)), None
        if id(equation) not in self.backward:
            number = next((i for i, known in enumerate(self.drawn) if drawn.draw.repeats(known.draw)), len(self.drawn))
            if number == len(self.drawn):
                self.drawn.append(drawn)
            else:
                known = self.drawn[number]
                again = (*known.draw.again, drawn.draw.line)
                self.drawn[number] = known._replace(draw=known.draw._replace(again=again))
        self.calls.append(Call(id(equation), data.tobytes(), drawn.draw, number, array, bounds))

    def forget(self) -> None:
        """Keep the draws alone: all values of all steps are too much."""
        self.nodes, self.inputs, self.outputs, self.loss = [], {}, {}, Node(np.zeros(()))

    def step(self, equation: Any, line: Line | None, cells: Sequence[Node]) -> list[Node]:
        """Compute one equation; bits that no function with a name draws are of no kind that PyTorch can be given."""
        found = super().step(equation, line, cells)
        if equation.primitive.name == "random_bits" and not self._inside:
            bits = np.asarray(found[0].array)
            self._note(equation, cells[0].array, Drawn(Draw(OTHER, bits.shape, None, line), bits), bits)
        return found


def jax_draws(theirs: Any, batches: Sequence[Any]) -> list[list[Drawn]]:
    """Return what JAX draws at each step, in order."""
    return [[] if tape is None else tape.drawn for tape in drawing_tapes(theirs, batches)]


def drawing_tapes(theirs: Any, batches: Sequence[Any]) -> list[DrawingTape | None]:
    """Return each step with what it draws; None for one that draws nothing."""
    leaves, found = dict(theirs.leaves), list[DrawingTape | None]()
    for batch in batches:
        program = theirs.program(batch)
        if not any(e.primitive.name == "random_bits" or draws_numbers(e) for e in program.closed.jaxpr.eqns):
            found.append(None)
            continue
        tape = DrawingTape(program)
        tape.run(leaves, batch)
        leaves = {leaf: np.asarray(node.array, leaves[leaf].dtype) for leaf, node in tape.outputs.items()}
        tape.forget()
        found.append(tape)
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
        with jax.disable_jit(False), casts():
            return function(*args, **kwargs)

    return call
