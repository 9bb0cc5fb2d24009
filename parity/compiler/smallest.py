"""Find the smallest part of a program that the compiler gets wrong: Zeller's delta debugging over its equations.

Zeller and Hildebrandt 2002, "Simplifying and isolating failure-inducing input".
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from parity.compiler.isolated import Compiler, CrashError
from parity.compiler.one_by_one import Evaluator
from parity.compiler.program import Equation, Program, Values, as_array
from parity.report.compare import norm, relative_error

# A part is wrong if an output is further off than this, and much further than the part itself moves when its inputs
# are rounded once: a comparison that a rounding decides is no fault of the compiler.
LIMITS = {"float64": 1e-10, "float32": 1e-4}
TIMES, NUDGES = 10.0, 8
MOST_TRIALS = 150  # compilations


class Apart(NamedTuple):
    """How a compiled program differs from its equations one by one."""

    error: float  # relative L2 norm of the worst output; infinite after a crash
    how: str  # how the process ended; "" if it did not


class Judge:
    """Compares a compiled program with its equations evaluated one by one."""

    def __init__(self, compiler: Compiler, evaluate: Evaluator, dtype: str, options: Mapping[str, Any] | None = None):
        self._compiler, self._evaluate, self._dtype, self._options = compiler, evaluate, dtype, options
        self.trials, self.worst = 0, 0.0

    def __call__(self, program: Program, values: Values) -> Apart | None:
        """Return how wrong the compiled program is; None if it is right up to rounding.

        Args:
            program: what is compiled.
            values: of its inputs and, one by one, of its outputs.
        """
        self.trials += 1
        try:
            found = self.compiled(program, values)
        except CrashError as error:
            return Apart(np.inf, str(error))
        errors = self.errors([as_array(values[number]) for number in program.outputs], found)
        self.worst = max([self.worst, *errors])
        if max(errors, default=0.0) <= LIMITS[self._dtype]:
            return None
        own = self._own_error(program, values)
        wrong = [error for error, rounding in zip(errors, own, strict=True) if error > TIMES * rounding]
        return Apart(max(wrong), "") if max(wrong, default=0.0) > LIMITS[self._dtype] else None

    def compiled(self, program: Program, values: Values) -> list[np.ndarray]:
        """Return the outputs of the compiled program.

        Raises:
            CrashError: XLA ended the process.
        """
        return self._compiler(program, [values[number] for number in program.inputs], self._options)

    def errors(self, right: Sequence[np.ndarray], found: Sequence[np.ndarray]) -> list[float]:
        """Return each output's error relative to its norm; relative to that of all, if it is nothing but rounding."""
        whole = norm(np.array([norm(_finite(array)) for array in right]))
        rounding = 1000 * float(np.finfo(self._dtype).eps) * whole
        pairs = [_without_equals(*pair) for pair in zip(right, found, strict=True)]
        return [relative_error(a, b, norm(a) if norm(a) > rounding else whole or 1.0) for a, b in pairs]

    def _own_error(self, program: Program, values: Values) -> list[float]:
        """Return by how much each output moves, at worst, when the inputs are moved by a rounding."""
        rng, worst = np.random.default_rng(0), [0.0] * len(program.outputs)
        for _ in range(NUDGES):
            moved = {number: _rounded(values[number], rng) for number in program.inputs}
            known = self._evaluate(program, moved)
            sides = [[as_array(side[number]) for number in program.outputs] for side in (values, known)]
            worst = [max(pair) for pair in zip(worst, self.errors(*sides), strict=True)]
        return worst


def smallest_part(judge: Judge, program: Program, values: Values) -> tuple[Program, Apart] | None:
    """Return the smallest wrong part of a program that is found, and how wrong it is; None if no part of it is.

    What is left out of a part is computed one by one and given to it.

    Args:
        judge: says whether a part is wrong.
        program: the whole.
        values: of all its inputs and equations, evaluated one by one.
    """

    def wrong(kept: Sequence[Equation]) -> Apart | None:
        return judge(_part(program, kept), values) if kept else None

    kept, apart, pieces = list(program.equations), wrong(program.equations), 2
    if apart is None:
        return None
    while len(kept) > 1 and judge.trials < MOST_TRIALS:
        size = -(-len(kept) // pieces)
        chunks = [kept[at : at + size] for at in range(0, len(kept), size)]
        rests = [[e for other in chunks if other is not chunk for e in other] for chunk in chunks]
        tries = [(chunk, 2) for chunk in chunks] if pieces == 2 else []
        tries += [(rest, max(pieces - 1, 2)) for rest in rests] if pieces > 2 else []
        for fewer, next_pieces in tries:
            if found := wrong(fewer):
                kept, apart, pieces = fewer, found, next_pieces
                break
        else:
            if pieces >= len(kept):
                break
            pieces = min(2 * pieces, len(kept))
    part = _part(program, kept)
    for number in part.outputs if len(part.outputs) > 1 else ():
        alone = part._replace(outputs=(number,))
        if found := judge(alone, values):
            return alone, found
    return part, apart


def _part(program: Program, kept: Sequence[Equation]) -> Program:
    """Return some equations of a program as one: it is given what others compute, and returns what others use."""
    made = [number for equation in kept for number in equation.outputs]
    used = dict.fromkeys(source for equation in kept for source in equation.inputs if isinstance(source, int))
    inside = {id(equation) for equation in kept}
    outside = {s for e in program.equations if id(e) not in inside for s in e.inputs if isinstance(s, int)}
    outside |= set(program.outputs)
    inputs = tuple(number for number in used if number not in made)
    return Program(inputs, tuple(kept), tuple(number for number in made if number in outside))


def _finite(array: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(array), array, 0).astype(np.float64)


def _without_equals(right: np.ndarray, found: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return two arrays with zeros where both have the same infinity, or NaN."""
    same = ~np.isfinite(right) & ((right == found) | (np.isnan(right) & np.isnan(found)))
    return np.where(same, 0, right), np.where(same, 0, found)


def _rounded(value: Any, rng: np.random.Generator) -> Any:
    if not jnp.issubdtype(value.dtype, jnp.floating):
        return value
    array = np.asarray(value)
    signs = rng.integers(-1, 2, array.shape)
    return (array * (1 + signs * float(jnp.finfo(array.dtype).eps))).astype(array.dtype)
