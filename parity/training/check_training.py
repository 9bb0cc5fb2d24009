"""Two trainings of the user's: the same, or at which stage of which step they part.

report = parity.check_training(torch_training, jax_training, batches, steps=20)
parity.assert_training(torch_training, jax_training, batches)       # in a test of yours
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from parity.mapping.rule import Rule
from parity.training.batches import Batch, drawn, fewer
from parity.training.compare import compared
from parity.training.draws import jax_draws
from parity.training.jax_live import LiveJax
from parity.training.outcome import TrainingReport
from parity.training.supply import Supply, noise, note, refuse_random, repeated
from parity.training.torch_live import LiveTorch


def check_training(
    torch_training: Callable[[], Any],
    jax_training: Callable[[], Any],
    batches: Callable[[], Any] | Iterable[Any],
    steps: int = 20,
    *,
    name: str = "",
    weights: Mapping[str, Rule] | None = None,
) -> TrainingReport:
    """Train both sides on the same batches, in float64, and compare every stage of every step.

    Args:
        torch_training: returns (module, step); `step(*batch)` trains once and returns the loss. It is called
            three times, and makes everything anew.
        jax_training: returns (state, step); `step(state, *batch)` returns (state, loss). The state is any tree, or
            NNX's objects.
        batches: a function or an iterable that yields what both steps are given, in numpy; or for each step a pair,
            PyTorch's and JAX's.
        steps: how many.
        name: what the report is called.
        weights: how leaves of the state are made of PyTorch's, by leaf, of those for which this is known.

    Returns:
        A report with `ok`, the first `stage` that differs and its first `step`, and `failures`, one for each stage.

    Raises:
        UserError: a training cannot be called so, or draws random numbers that PyTorch cannot be given.
    """
    pairs = drawn(batches, steps)
    theirs = LiveJax(jax_training)
    draws = jax_draws(theirs.training, [batch for _, batch in pairs])
    title, way, ways, first = name or "training", 0, 1, None
    while way < ways:  # layouts that a mask may have, and laws that are the same
        supplies = [Supply(numbers, way) for numbers in draws]
        found = _checked(torch_training, theirs, pairs, supplies, weights)
        first = found if first is None or not found.begins_apart else first
        if not found.begins_apart:
            break
        way, ways = way + 1, max(supply.ways for supply in supplies)
    assert first is not None
    return first._replace(name=title, notes=(*fewer(pairs, steps), *first.notes))


def _checked(
    torch_training: Callable[[], Any],
    theirs: LiveJax,
    pairs: list[tuple[Batch, Batch]],
    supplies: list[Supply],
    weights: Mapping[str, Rule] | None,
) -> TrainingReport:
    """Check both trainings with the random numbers that PyTorch is to draw."""
    ours, batches = LiveTorch(torch_training, [batch for batch, _ in pairs]), [batch for _, batch in pairs]
    first = ours.first(supplies[0])
    refuse_random(first.step)
    wrong = noise(supplies[0]) or repeated([supply.drawn for supply in supplies])
    steps = ours.steps(supplies)
    notes = [] if wrong else note(supplies[0].asked, supplies[0].drawn)
    return compared(ours, theirs, first, steps, batches, batches, wrong, notes, weights)


def assert_training(
    torch_training: Callable[[], Any],
    jax_training: Callable[[], Any],
    batches: Callable[[], Any] | Iterable[Any],
    steps: int = 20,
) -> None:
    """Raise an AssertionError that says what differs, unless both train the same way; for a test of yours."""
    report = check_training(torch_training, jax_training, batches, steps)
    if not report.ok:
        raise AssertionError("\n".join(failure.text for failure in report.failures))
