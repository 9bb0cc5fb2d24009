"""What a difference is: hypotheses, each named only if it reproduces JAX's numbers; and the line on both sides."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from parity.align.frontier import Difference
from parity.align.places import line_without, lines_of
from parity.align.words import explained
from parity.trace.lines import Line
from parity.training.input_words import input_words
from parity.training.kept_words import average_words, statistics_words
from parity.training.loss_words import gradient_words, loss_words
from parity.training.roles import Roles
from parity.training.stages import Compared
from parity.training.steps import TorchStep
from parity.training.update_words import update_words
from parity.training.weights import Forward

FACTORS = ("the sign is reversed", "a scale is missing or applied twice")
Lines = tuple[Line | None, Line | None]
LINES = {"forward": "loss", "gradients": "loss", "statistics": "loss", "average": "after"}  # where PyTorch has a stage


class Evidence(NamedTuple):
    """All steps of both sides."""

    compared: list[Compared]
    steps: list[TorchStep]
    batches: list[Any]  # JAX's
    passed: Forward
    roles: Roles
    shares: Mapping[str, Any]  # of a batch in running statistics, by layer: PyTorch's momentum


def diagnosed(stage: str, number: int, known: Evidence) -> tuple[str, Lines]:
    """Return what a stage's first difference is, "" if nothing reproduces it, and PyTorch's and JAX's line."""
    row = known.compared[number].worst(stage)
    theirs = row.node.line if row is not None and row.node is not None else None
    mine = known.steps[number].lines.get(LINES.get(stage, stage))
    try:
        words = _words(stage, number, known)
    except (
        ValueError,
        ZeroDivisionError,
        FloatingPointError,
        KeyError,
    ):  # an explanation is a help: nothing depends on it
        words = ""
    if stage == "update" and "clip" in words:
        mine = known.steps[number].lines.get("between", mine)
    if stage in ("forward", "loss"):
        more, lines = _recorded(stage, known.passed)
        if lines != (None, None):
            words, (mine, theirs) = words or more, lines
    return words, (mine, theirs)


def _words(stage: str, number: int, known: Evidence) -> str:
    match stage:
        case "forward":
            return input_words(known.compared[number], known.steps[number])
        case "loss":
            return loss_words(number, known.compared, known.steps, known.batches)
        case "gradients":
            return gradient_words(number, known.compared, known.steps, known.batches, known.roles)
        case "update":
            return update_words(number, known.compared, known.steps, known.roles)
        case "statistics":
            return statistics_words(number, known.compared, known.steps, known.roles, known.shares)
        case "average":
            return average_words(number, known.compared, known.steps, known.roles)
    return ""


def _recorded(stage: str, passed: Forward) -> tuple[str, Lines]:
    """Return what the recorded forward passes say of the first operation at which they part."""
    for walk, found in passed.differences():
        if passed.in_loss(found) is (stage == "loss"):
            looks, (mine, theirs) = explained(walk, found), lines_of(walk, found)
            if looks.given is not None:
                theirs = line_without(walk, found, looks.given)
            return ("" if stage == "loss" and _is_partial(looks.words, found, passed) else looks.words), (mine, theirs)
    return "", (None, None)


def _is_partial(words: str, found: Difference, passed: Forward) -> bool:
    """Tell whether words are of a factor at one operation, behind which the loss differs still.

    Two ways of writing a loss have values that are multiples of each other, and which of them differ in nothing else.
    """
    if not words.endswith(FACTORS):
        return False
    others = [one for _, one in passed.differences() if one.op > found.op and passed.in_loss(one)]
    return found.counterpart is None or bool(others)
