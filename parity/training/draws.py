"""Random numbers of a training step: PyTorch is given what JAX draws, so that both drop the same (trap 20).

JAX's draws are known before a step, as they depend on its keys alone. They are seen as calls of `jax.random`, by name.
"""

import contextlib
import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from data import UserError
from parity.sides.pairing import ways_between
from parity.sides.randomness import JAX, MASK, OTHER, TORCH, UNIFORM, Draw, TorchDraws, draws_numbers
from parity.trace.jax_eval import line_of
from parity.trace.lines import Line
from parity.training.backward import program_backward
from parity.training.outcome import TrainingFailure
from parity.training.tape import Node, Tape

SAME_RATE = 1e-6
OFF = "turn dropout and other noise off, rate 0"
UNLIKE = frozenset(name for name, kind in TORCH.items() if kind == OTHER)  # of PyTorch, which it cannot be given


class Drawn(NamedTuple):
    """Random numbers that JAX has drawn: 0 and 1, uniform ones between these, or normal ones."""

    draw: Draw
    numbers: np.ndarray


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


class StepDraws(TorchDraws):
    """A mode under which a step's forward pass draws what a supply has; other random numbers are PyTorch's."""

    def __init__(self, supply: "Supply", drawing: Callable[[], bool]):
        super().__init__(supply)
        self.drawing = drawing

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Spare the import of TorchDynamo, which takes seconds."""
        return False

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(func).removeprefix("aten.").partition(".")[0]
        if TORCH.get(name, OTHER) == OTHER or not self.drawing():
            return func(*args, **(kwargs or {}))
        return super().__torch_dispatch__(func, types, args, kwargs)


class Supply:
    """JAX's numbers of one step, in PyTorch's order and layouts; a mask that JAX does not draw is turned off."""

    def __init__(self, drawn: Sequence[Drawn], way: int = 0):
        self.drawn, self.way = drawn, way
        self.ways = 1  # how many layouts there may be
        self.restart()

    def restart(self) -> None:
        """Begin again with the first draw."""
        self.asked: list[Draw] = []
        self.problem = ""

    def __call__(self, draw: Draw) -> np.ndarray:
        """Return numbers for PyTorch's next draw."""
        number = len(self.asked)
        self.asked.append(draw)
        numbers = self._fitting(draw, self.drawn[number]) if number < len(self.drawn) else None
        if numbers is None and draw.kind != MASK:
            self.problem = self.problem or f"PyTorch draws {draw.kind} at {draw.line}, which JAX does not"
        return np.full(draw.shape, 1.0 if draw.keep is None else draw.keep) if numbers is None else numbers

    def _fitting(self, ours: Draw, drawn: Drawn) -> np.ndarray | None:
        theirs, numbers = drawn
        if ours.kind == theirs.kind and math.prod(ours.shape) == math.prod(theirs.shape):
            ways = ways_between(ours.shape, theirs.shape)
            self.ways = max(self.ways, len(ways))
            numbers = ways[min(self.way, len(ways) - 1)](numbers)
        elif ours.kind == theirs.kind and _repeats(theirs.shape, ours.shape):
            numbers = np.broadcast_to(numbers, ours.shape)
        else:
            words = f"PyTorch draws {ours.kind} {ours.shape} at {ours.line}, JAX {theirs.kind} {theirs.shape}"
            self.problem = self.problem or f"{words} at {theirs.line}"
            return None
        if ours.keep is None or theirs.keep is None:
            return numbers
        dropped = abs(ours.keep + theirs.keep - 1) < SAME_RATE < abs(ours.keep - theirs.keep)
        return 1 - numbers if dropped else numbers  # JAX draws what is dropped

    def failure(self) -> TrainingFailure | None:
        """Return what is wrong with the draws of one step, if they are masks.

        Raises:
            UserError: they cannot be shared.
        """
        ours, theirs = self.asked, [d.draw for d in self.drawn]
        if all(draw.kind == MASK for draw in (*ours, *theirs)):
            if len(ours) != len(theirs):
                lines = [next((d.line for d in side if d.line), None) for side in (ours, theirs)]
                words = f"PyTorch draws {_counted(ours)} in training mode, JAX {_counted(theirs)} (trap 20)"
                return _failure(words, len(ours), len(theirs), *lines)
            for mine, other in zip(ours, theirs, strict=True) if not self.problem else ():
                a, b = mine.keep, other.keep
                if a is not None and b is not None and min(abs(a - b), abs(a + b - 1)) > SAME_RATE:
                    rates = f"PyTorch drops {1 - a:.3g}, JAX {1 - b:.3g}: the rates differ (trap 20)"
                    return _failure(rates, 1 - a, 1 - b, mine.line, other.line)
        elif len(ours) != len(theirs):
            sides = [f"{side} draws {_counted(draws)}" for side, draws in (("PyTorch", ours), ("JAX", theirs))]
            raise UserError(f"{', '.join(sides)}: {OFF}")
        if self.problem:
            raise UserError(f"{self.problem}, which cannot be the same numbers: {OFF}")
        return None


def _repeats(small: tuple[int, ...], large: tuple[int, ...]) -> bool:
    return len(small) == len(large) and all(a in (1, b) for a, b in zip(small, large, strict=True))


def _counted(draws: Sequence[Draw]) -> str:
    kinds = {draw.kind for draw in draws}
    if kinds == {MASK}:
        return f"{len(draws)} mask{'s' if len(draws) > 1 else ''}"
    return f"random numbers {len(draws)} times" if draws else "none"


def _failure(
    words: str, ours: float, theirs: float, torch_line: Line | None, jax_line: Line | None
) -> TrainingFailure:
    return TrainingFailure(
        "forward", 1, "dropout", abs(ours - theirs), SAME_RATE, ours, theirs, "", words, torch_line, jax_line
    )


def note(supply: Supply) -> list[str]:
    """Return what a report says of numbers that were shared."""
    return [f"{_counted(supply.asked)} at each step, the same on both sides"] if supply.asked and supply.drawn else []


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
