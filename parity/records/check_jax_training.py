"""Comparing a JAX training with the record of a PyTorch training. PyTorch is not needed."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from parity.records.training_sides import RecordedTorchTraining
from parity.training.compare import JaxSide, compared
from parity.training.draws import DrawingTape, drawing_tapes
from parity.training.given_draws import GivenDraws
from parity.training.jax_live import LiveJax
from parity.training.lifted import Slot, filled, lifted
from parity.training.outcome import TrainingReport
from parity.training.precision import Precision
from parity.training.program import Given, StepProgram
from parity.training.supply import note, repeated, wrong_draws


def check(side: RecordedTorchTraining, make: Callable[[], Any], steps: int | None = None) -> TrainingReport:
    """Compare; arguments as for `parity.check_training_record`."""
    theirs, batches = LiveJax(make), side.batches[:steps]
    tapes = drawing_tapes(theirs.training, batches)
    way, ways, best = 0, 1, None
    while way < ways:  # layouts that a mask may have, and laws that are the same
        found, more = _checked(side, theirs, batches, tapes, way)
        best = found if best is None or not found.begins_apart else best
        if not found.begins_apart:
            break
        way, ways = way + 1, more
    assert best is not None
    return best


def _checked(
    side: RecordedTorchTraining,
    theirs: LiveJax,
    batches: Sequence[Any],
    tapes: Sequence[DrawingTape | None],
    way: int,
) -> tuple[TrainingReport, int]:
    """Compare, with PyTorch's masks in one layout; return how many layouts there may be, too."""
    count, supplied = len(batches), Supplied(theirs)
    draws = [tape and GivenDraws(tape, drawn, way) for tape, drawn in zip(tapes, side.drawn[:count], strict=True)]
    given = [supplied.given(batch, one) for batch, one in zip(batches, draws, strict=True)]
    ours, other = ([drawn.draw for drawn in part] for part in (side.drawn[0], tapes[0].drawn if tapes[0] else ()))
    wrong = wrong_draws(ours, other, draws[0].problem if draws[0] else "")
    wrong = wrong or repeated([tape.drawn for tape in tapes[:count] if tape])
    notes = [] if wrong else note(ours, other)
    chosen: JaxSide = supplied if any(tapes) else theirs
    report = compared(side, chosen, side.first, side.steps[:count], batches, given, wrong, notes)
    return report, max((one.ways for one in draws if one), default=1)


class Supplied:
    """A JAX training whose random numbers come from outside."""

    def __init__(self, theirs: LiveJax):
        self.theirs = theirs
        self._lifted: dict[int, tuple[StepProgram, list[Slot]]] = {}

    @property
    def leaves(self) -> Mapping[str, np.ndarray]:
        """Return the state by path."""
        return self.theirs.leaves

    def given(self, batch: Any, draws: GivenDraws | None) -> Any:
        """Return what a step is given."""
        if draws is None:
            return batch
        return Given(batch, filled(self._of(batch)[1], draws.by_equation()))

    def program(self, given: Any) -> StepProgram:
        """Return the step for a batch, and for what is drawn."""
        return self._of(given.batch)[0] if isinstance(given, Given) else self.theirs.program(given)

    def precision(self, batch: Any) -> Precision | None:
        """Return what it computes in which type."""
        return self.theirs.precision(batch)

    def _of(self, batch: Any) -> tuple[StepProgram, list[Slot]]:
        program = self.theirs.program(batch)
        if id(program) not in self._lifted:
            self._lifted[id(program)] = lifted(program)
        return self._lifted[id(program)]
