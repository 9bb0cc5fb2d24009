"""Random numbers of a training step that both sides are given, so that both drop the same (trap 20).

Neither framework is imported.
"""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from data.errors import UserError
from parity.sides.laws import SAME_RATE, options, rates_differ
from parity.sides.random_draws import MASK, OTHER, TORCH, Draw, counted, counts, dependent, own_numbers, unlike
from parity.trace.lines import Line
from parity.training.outcome import TrainingFailure
from parity.training.steps import TorchStep

BY_CHANCE = 1e-9  # masks are equal with a smaller probability than this
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
        if OTHER not in (ours.kind, theirs.kind) and (found := options(theirs, ours, numbers)):
            self.ways = max(self.ways, len(found))
            return found[min(self.way, len(found) - 1)]
        if ours.kind == theirs.kind and repeats(theirs.shape, ours.shape):
            return np.broadcast_to(numbers, ours.shape)
        words = f"PyTorch draws {ours.kind} {ours.shape} at {ours.line}, JAX {theirs.kind} {theirs.shape}"
        self.problem = self.problem or f"{words} at {theirs.line}"
        return None


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
    again = next((draw for draw in theirs if draw.again), None)
    if len(ours) != len(theirs):
        words = counts(ours, theirs)
        if any(draw.kind != MASK for draw in (*ours, *theirs)):
            raise UserError(f"{words}: {OFF}")
        mine = next((d.line for d in ours if d.line), None)
        other = again or next((d for d in theirs if d.line), None)
        return [_failure(f"{words} (trap 20)", len(ours), len(theirs), mine, other and other.line)]
    if problem:
        raise UserError(f"{problem}, which cannot be the same numbers: {OFF}")
    if words := dependent(theirs):
        return [_failure(f"{words} (trap 20)", 0, 1, ours[0].line, theirs[0].line)]
    for mine, other in zip(ours, theirs, strict=True):
        if mine.size != other.size:
            return [_failure(f"{unlike(mine, other)} (trap 20)", mine.size, other.size, mine.line, other.line)]
        if rates_differ(mine, other):
            a, b = 1 - (mine.keep or 0), 1 - (other.keep or 0)
            return [
                _failure(
                    f"PyTorch drops {a:.3g}, JAX {b:.3g}: the rates differ (trap 20)", a, b, mine.line, other.line
                )
            ]
    return []


def repeated(steps: Sequence[Sequence[Drawn]]) -> list[TrainingFailure]:
    """Return that JAX draws the same numbers at two steps, if it does: its key is not made anew.

    Numbers are told by their keys; of a record, by themselves, where it is not by chance that they are equal.
    """
    for number, (before, after) in enumerate(itertools.pairwise(steps), 2):
        for old, new in itertools.product(before, after):
            if _equal(old, new):
                words = f"JAX draws the same numbers at step {number} as at step {number - 1} (trap 20)"
                words = f"{words}: its key is not split, nor folded with the step"
                return [_failure(words, number, number - 1, None, new.draw.line)._replace(step=number)]
    return []


def _equal(old: Drawn, new: Drawn) -> bool:
    if old.draw.keys and new.draw.keys:
        return bool({*old.draw.keys} & {*new.draw.keys})
    if old.draw.kind != new.draw.kind:
        return False
    keep = new.draw.keep if new.draw.kind == MASK and new.draw.keep is not None else 0.5
    chance = (keep**2 + (1 - keep) ** 2) ** new.numbers.size
    return chance < BY_CHANCE and np.array_equal(old.numbers, new.numbers)


def refuse_random(step: TorchStep) -> None:
    """Raise a UserError if a step draws numbers of a kind that JAX cannot be given."""
    if step.random:
        raise UserError(f"the forward pass of PyTorch draws random numbers by {step.random}: {OFF}")


def repeats(small: tuple[int, ...], large: tuple[int, ...]) -> bool:
    """Tell whether one shape becomes the other by repeating axes of one number."""
    return len(small) == len(large) and all(a in (1, b) for a, b in zip(small, large, strict=True))


def _failure(
    words: str, ours: float, theirs: float, torch_line: Line | None, jax_line: Line | None
) -> TrainingFailure:
    return TrainingFailure(
        "forward", 1, "dropout", abs(ours - theirs), SAME_RATE, ours, theirs, "", words, torch_line, jax_line
    )


def note(ours: Sequence[Draw], theirs: Sequence[Any]) -> list[str]:
    """Return what a report says of numbers that were shared."""
    return [f"{counted(ours)} at each step, the same on both sides"] if ours and theirs else []
