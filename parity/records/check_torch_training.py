"""Comparing a PyTorch training with the record of a JAX training. JAX is not needed."""

from collections.abc import Callable
from typing import Any

from parity.records.training_sides import RecordedJaxTraining
from parity.training.compare import compared
from parity.training.outcome import TrainingReport
from parity.training.supply import Supply, noise, note, refuse_random, repeated
from parity.training.torch_live import LiveTorch


def check(side: RecordedJaxTraining, make: Callable[[], Any], steps: int | None = None) -> TrainingReport:
    """Compare; arguments as for `parity.check_training_record`."""
    side.check()
    way, ways, best = 0, 1, None
    while way < ways:  # layouts that a mask may have, and laws that are the same
        supplies = [Supply(drawn, way) for drawn in side.drawn[:steps]]
        found = _checked(side, make, supplies)
        best = found if best is None or not found.begins_apart else best
        if not found.begins_apart:
            break
        way, ways = way + 1, max(supply.ways for supply in supplies)
    assert best is not None
    return best


def _checked(side: RecordedJaxTraining, make: Callable[[], Any], supplies: list[Supply]) -> TrainingReport:
    count = len(supplies)
    ours = LiveTorch(make, side.torch_batches[:count])
    first = ours.first(supplies[0])
    refuse_random(first.step)
    wrong = noise(supplies[0]) or repeated([supply.drawn for supply in supplies])
    made = ours.steps(supplies)
    notes = [] if wrong else note(supplies[0].asked, supplies[0].drawn)
    return compared(ours, side, first, made, side.batches[:count], side.given[:count], wrong, notes)
