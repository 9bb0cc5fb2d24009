"""Random numbers of a training step that both sides are given, so that both drop the same (trap 20).

Neither framework is imported.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from data.errors import UserError
from parity.sides.pairing import ways_between
from parity.sides.random_draws import MASK, OTHER, TORCH, Draw, own_numbers
from parity.trace.lines import Line
from parity.training.outcome import TrainingFailure
from parity.training.steps import TorchStep

SAME_RATE = 1e-6
OFF = "turn dropout and other noise off, rate 0"
UNLIKE = frozenset(name for name, kind in TORCH.items() if kind == OTHER)  # of PyTorch, which it cannot be given


class Drawn(NamedTuple):
    """Random numbers that JAX has drawn: 0 and 1, uniform ones between these, or normal ones."""

    draw: Draw
    numbers: np.ndarray


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
        elif ours.kind == theirs.kind and repeats(theirs.shape, ours.shape):
            numbers = np.broadcast_to(numbers, ours.shape)
        else:
            words = f"PyTorch draws {ours.kind} {ours.shape} at {ours.line}, JAX {theirs.kind} {theirs.shape}"
            self.problem = self.problem or f"{words} at {theirs.line}"
            return None
        if ours.keep is None or theirs.keep is None:
            return numbers
        dropped = abs(ours.keep + theirs.keep - 1) < SAME_RATE < abs(ours.keep - theirs.keep)
        return 1 - numbers if dropped else numbers  # JAX draws what is dropped


class OwnSupply:
    """Random numbers of PyTorch's that are kept, the same each time; in the place of a `Supply`."""

    def __init__(self, seed: int, step: int):
        self.seeds = [seed, step, 26]
        self.restart()

    def restart(self) -> None:
        """Begin again with the first draw."""
        self.rng = np.random.default_rng(self.seeds)
        self.drawn: list[Drawn] = []

    def __call__(self, draw: Draw) -> np.ndarray:
        """Return numbers for PyTorch's next draw."""
        numbers = own_numbers(draw, self.rng)
        self.drawn.append(Drawn(draw, numbers))
        return numbers


def noise(supply: Supply) -> list[TrainingFailure]:
    """Return what is wrong with the draws of one step, if they are masks.

    Raises:
        UserError: they cannot be shared.
    """
    return wrong_draws(supply.asked, [drawn.draw for drawn in supply.drawn], supply.problem)


def wrong_draws(ours: Sequence[Draw], theirs: Sequence[Draw], problem: str) -> list[TrainingFailure]:
    """Return what is wrong with PyTorch's and JAX's draws; see `noise`."""
    if all(draw.kind == MASK for draw in (*ours, *theirs)):
        if len(ours) != len(theirs):
            lines = [next((d.line for d in side if d.line), None) for side in (ours, theirs)]
            words = f"PyTorch draws {_counted(ours)} in training mode, JAX {_counted(theirs)} (trap 20)"
            return [_failure(words, len(ours), len(theirs), *lines)]
        for mine, other in zip(ours, theirs, strict=True) if not problem else ():
            a, b = mine.keep, other.keep
            if a is not None and b is not None and min(abs(a - b), abs(a + b - 1)) > SAME_RATE:
                rates = f"PyTorch drops {1 - a:.3g}, JAX {1 - b:.3g}: the rates differ (trap 20)"
                return [_failure(rates, 1 - a, 1 - b, mine.line, other.line)]
    elif len(ours) != len(theirs):
        sides = [f"{side} draws {_counted(draws)}" for side, draws in (("PyTorch", ours), ("JAX", theirs))]
        raise UserError(f"{', '.join(sides)}: {OFF}")
    if problem:
        raise UserError(f"{problem}, which cannot be the same numbers: {OFF}")
    return []


def refuse_random(step: TorchStep) -> None:
    """Raise a UserError if a step draws numbers of a kind that JAX cannot be given."""
    if step.random:
        raise UserError(f"the forward pass of PyTorch draws random numbers by {step.random}: {OFF}")


def repeats(small: tuple[int, ...], large: tuple[int, ...]) -> bool:
    """Tell whether one shape becomes the other by repeating axes of one number."""
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


def note(ours: Sequence[Draw], theirs: Sequence[Any]) -> list[str]:
    """Return what a report says of numbers that were shared."""
    return [f"{_counted(ours)} at each step, the same on both sides"] if ours and theirs else []
