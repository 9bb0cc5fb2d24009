"""The checks of a pair of which one side is a record. Neither framework is imported."""

from collections.abc import Collection
from typing import Any

from data.errors import UserError
from parity.align.pair import PortPair
from parity.align.words import all_tried
from parity.checks.float32_operations import check_float32
from parity.checks.gradients import check_gradients
from parity.checks.operations import check_forward, check_round_trip, check_statistics, check_weights
from parity.checks.training_mode import check_training_mode
from parity.records.module import Made
from parity.report import Report, Result
from parity.sides.faults import explained

PURPOSES, ACCEPTABLE = ("training", "inference"), ("trap-1", "trap-20")


def compared(pair: PortPair, purpose: str, accept: Collection[str], mask: Any, name: str, made: Made) -> Report:
    """Return the report of an aligned pair.

    Args:
        pair: both sides.
        purpose: "training" or "inference".
        accept: conventions that are no fault here.
        mask: of positions of the output that are compared.
        name: what the report is called.
        made: with what the record was made.

    Raises:
        UserError: an argument is wrong, or a side cannot be computed.
    """
    if purpose not in PURPOSES:
        raise UserError(f"purpose '{purpose}': expected {' or '.join(PURPOSES)}")
    if unknown := [word for word in accept if word not in ACCEPTABLE]:
        raise UserError(f"accept '{unknown[0]}': known are {', '.join(ACCEPTABLE)}")
    try:
        results: list[Result] = [check_weights(pair)]
        if not results[0].failure:
            results += check_forward(pair, mask)
        if not any(result.failure for result in results):
            results += check_float32(pair, mask)
        if not any(result.failure for result in results):
            results.append(check_round_trip(pair))
            if purpose == "training":
                results += check_gradients(pair)
                if all(getattr(side, "training", side) is not None for side in (pair.torch, pair.jax)):
                    results += check_training_mode(pair, accept)
                else:  # a record of an earlier version
                    results += check_statistics(pair, accept)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"the two sides cannot be compared: {explained(error)}") from error
    notes = [f"one side is a record: {made}", *notes_of(pair)]
    if any(result.failure for result in results) and not all_tried():
        notes.append("PyTorch is not installed here: what a difference looks like is told by numpy alone")
    return Report(name, tuple(results), notes=tuple(notes))


def notes_of(pair: PortPair) -> list[str]:
    """Return what a report says beside its checks."""
    notes = list(pair.notes)
    if pair.float32:
        more = f" and {len(pair.float32) - 3} more lines" if len(pair.float32) > 3 else ""
        notes.append(f"computes in float32 at {', '.join(str(line) for line in pair.float32[:3])}{more}")
    notes += [f"without a twin: {line}" for line in pair.weights.without_twin()]
    notes += [f"{path} is taken by {why}: nothing confirms it" for path, why in pair.unconfirmed.items()]
    return notes
