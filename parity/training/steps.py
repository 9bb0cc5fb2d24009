"""One step of a PyTorch training as data; neither framework is imported."""

from typing import Any, NamedTuple

import numpy as np

from parity.trace.lines import Line

Arrays = dict[str, np.ndarray]
AVERAGE_WORDS = ("ema", "avg", "average", "shadow", "polyak", "swa", "target")


class Snapshot(NamedTuple):
    """Copies of everything that a step changes."""

    params: Arrays
    buffers: Arrays
    slots: dict[str, Arrays]  # "exp_avg" -> parameter -> array
    averages: dict[str, Arrays]  # where it was found -> parameter or buffer -> array


class Group(NamedTuple):
    """What an optimizer does to one parameter."""

    optimizer: str  # "AdamW"
    settings: dict[str, Any]  # of its parameter group, at this step
    number: int = 0  # of the optimizer


class TorchStep(NamedTuple):
    """One step."""

    loss: Any  # what the step returned, as a number; None if it returned nothing
    roots: tuple[float, ...]  # of each backward pass
    inputs: tuple[np.ndarray, ...]  # of the module, floats
    outputs: tuple[np.ndarray, ...]  # of the module, call by call
    pieces: tuple[Arrays, ...]  # what each backward pass adds to the gradients
    raw: Arrays  # gradients after the last backward pass
    gradients: Arrays  # as the optimizer was given them
    groups: dict[str, Group]  # by parameter; empty where no optimizer has stepped
    before: Snapshot
    after: Snapshot
    lines: dict[str, Line]  # where each stage is in the user's code
    random: str  # an operation of the forward pass that draws random numbers of a kind that JAX cannot have
    calls: tuple[Arrays, ...] = ()  # buffers after each call of the module, if there are several
    held: Arrays | None = None  # gradients before clipping with what earlier steps have added, if they have


def without_velocities(steps: list[Any]) -> list[Any]:
    """Return steps in which what starts as zeros, beside the optimizer, is a slot: a momentum written by hand."""
    first = steps[0].before.averages
    zeros = [place for place, tensors in first.items() if not any(np.any(array) for array in tensors.values())]
    zeros = [place for place in zeros if not any(word in place.lower() for word in AVERAGE_WORDS)]
    if not zeros:
        return steps

    def moved(at: Snapshot) -> Snapshot:
        slots = {place: at.averages[place] for place in zeros if place in at.averages}
        kept = {place: tensors for place, tensors in at.averages.items() if place not in zeros}
        return at._replace(slots={**at.slots, **slots}, averages=kept)

    return [step._replace(before=moved(step.before), after=moved(step.after)) for step in steps]
