"""Two trainings of the user's: the same, or at which stage of which step they part.

report = parity.check_training(torch_training, jax_training, batches, steps=20)
parity.assert_training(torch_training, jax_training, batches)       # in a test of yours
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from data import UserError
from parity.mapping.rule import Rule
from parity.report.compare import norm
from parity.training.batches import Batch, drawn
from parity.training.draws import OFF, Supply, jax_draws, note
from parity.training.explain import Evidence, Lines, diagnosed
from parity.training.jax_steps import JaxTraining
from parity.training.missing import missing
from parity.training.outcome import Stage, TrainingFailure, TrainingReport
from parity.training.precision import differences
from parity.training.roles import Roles, averaged_statistics, groups, slots_and_averages, statistics
from parity.training.single_rate import with_single_rate
from parity.training.snapshots import without_velocities
from parity.training.stages import BOUNDS, STAGES, Compared, Found, compare_step, fed_with_gradients
from parity.training.torch_steps import TorchStep, TorchTraining
from parity.training.weights import Forward, forward

# A stage that follows from another is not compared where that one differs.
FOLLOWS = {"loss": ("forward",), "gradients": ("forward", "loss"), "statistics": ("forward",)}


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
    notes = [f"{len(pairs)} batches, fewer than {steps} steps"] if len(pairs) < steps else []
    theirs = JaxTraining(jax_training)
    draws = jax_draws(theirs, [batch for _, batch in pairs])
    title, way, ways, first = name or "training", 0, 1, None
    while way < ways:  # layouts that a mask may have
        supplies = [Supply(numbers, way) for numbers in draws]
        found = _checked(torch_training, jax_training, theirs, pairs, supplies, weights)
        first = first or found
        if found.ok:
            first = found
            break
        way, ways = way + 1, max(supply.ways for supply in supplies)
    assert first is not None
    return first._replace(name=title, notes=(*notes, *first.notes))


def _checked(
    torch_training: Callable[[], Any],
    jax_training: Callable[[], Any],
    theirs: JaxTraining,
    pairs: list[tuple[Batch, Batch]],
    supplies: list[Supply],
    weights: Mapping[str, Rule] | None,
) -> TrainingReport:
    """Check both trainings with the random numbers that PyTorch is to draw."""
    recorded, ours = TorchTraining(torch_training), TorchTraining(torch_training)
    recorded.supply = supplies[0]
    passed = forward(recorded, theirs, pairs[0], weights)
    noise = _noise(passed.step, supplies[0])
    ours.as_tensors = recorded.as_tensors
    torch_steps = without_velocities([_step(ours, b, s) for (b, _), s in zip(pairs, supplies, strict=True)])
    compared, roles = compare_steps(theirs, torch_steps, [batch for _, batch in pairs], passed)
    known = Evidence(compared, torch_steps, [batch for _, batch in pairs], passed, roles, ours)
    failures = _failures(known)
    types = differences(torch_training, jax_training, pairs[0], roles, as_tensors=ours.as_tensors)
    failures = _with_others([*failures, *noise], [*types, *missing(torch_steps, roles)])
    stages = tuple(_stage(stage, compared) for stage in STAGES)
    notes = [*_notes(roles, torch_steps), *(() if noise else note(supplies[0]))]
    return TrainingReport("", len(pairs), stages, tuple(failures), tuple(notes))


def _step(ours: TorchTraining, batch: Batch, supply: Supply) -> TorchStep:
    ours.supply = supply
    return ours.run(batch)


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


def compare_steps(
    theirs: JaxTraining, torch_steps: list[TorchStep], batches: list[Batch], passed: Forward
) -> tuple[list[Compared], Roles]:
    """Compare each step, JAX's from PyTorch's state; what PyTorch has no word for goes on as JAX computes it."""
    roles, complete = Roles(passed.rules, {}, {}, {}), False
    leaves, compared = dict(theirs.leaves), []
    first = next((i for i, step in enumerate(torch_steps) if step.after.slots), 0)
    for number, (step, batch) in enumerate(zip(torch_steps, batches, strict=True)):
        program = theirs.program(batch)
        leaves = roles.fed(leaves, step.before)
        if number == 0 or (not complete and number >= first):
            roles = _roles(roles, program, leaves, batch, step)
            complete = number >= first
            leaves = roles.fed(leaves, step.before)
        compared.append(compare_step(program, leaves, batch, step, roles))
        if program.single:
            compared[-1] = with_single_rate(len(compared) - 1, compared, torch_steps, roles)
        leaves = {leaf: np.asarray(node.array, leaves[leaf].dtype) for leaf, node in compared[-1].fed.outputs.items()}
    return compared, roles


def _roles(roles: Roles, program: Any, leaves: Any, batch: Batch, step: TorchStep) -> Roles:
    tape = fed_with_gradients(program, leaves, batch, step, roles)
    after = {leaf: np.asarray(node.array) for leaf, node in tape.outputs.items()}
    slots, averages = slots_and_averages(roles.params, leaves, after, step.after)
    used = {*roles.params, *slots, *averages}
    used |= {leaf for copies in groups(roles.params, leaves).values() for leaf in copies[0].values()}
    others = {leaf: array for leaf, array in leaves.items() if leaf not in used}
    found = roles.statistics or statistics(roles.params, others, after, step.before, step.after)
    averages |= averaged_statistics(found, others, step.after)
    return Roles(roles.params, slots, averages, found)


def _failures(known: Evidence) -> list[TrainingFailure]:
    """Return a failure for each stage that differs, at its first step."""
    found = []
    for stage in STAGES:
        for number, one in enumerate(known.compared):
            bad = [row for row in one.found if row.stage == stage and not row.ok]
            behind = any(not row.ok for row in one.found if row.stage in FOLLOWS.get(stage, ()))
            if bad and not behind:
                words, lines = diagnosed(stage, number, known)
                found.append(_failure(stage, number, _shown(bad, known.roles), words, lines))
                break
    return found


def _with_others(found: list[TrainingFailure], others: list[TrainingFailure]) -> list[TrainingFailure]:
    """Add failures of stages that have none, in the order of the stages."""
    by_stage = {failure.stage: failure for failure in (*reversed(others), *found)}
    return [by_stage[stage] for stage in STAGES if stage in by_stage]


def _shown(bad: list[Found], roles: Roles) -> Found:
    """Return the tensor that a report names: a parameter rather than a slot, and no rounding of a zero."""
    params = [row for row in bad if row.tensor in roles.params]
    finite = [row for row in params or bad if np.shape(row.torch) == np.shape(row.jax) and np.isfinite(row.error)]
    return max(finite, key=lambda row: norm(np.asarray(row.jax, np.float64) - row.torch), default=bad[0])


def _severity(row: Found) -> float:
    return row.error if np.isfinite(row.error) else np.inf


def _failure(stage: str, number: int, row: Found, words: str, lines: Lines) -> TrainingFailure:
    ours, theirs = np.asarray(row.torch, np.float64), np.asarray(row.jax, np.float64)
    place = ""
    if ours.shape == theirs.shape and ours.ndim:
        gap = np.abs(ours - theirs)
        at = np.unravel_index(np.where(np.isfinite(gap), gap, np.inf).argmax(), gap.shape)
        ours, theirs, place = ours[at], theirs[at], str([int(i) for i in at])
    mine, other = (float(np.ravel(value)[0]) if np.size(value) else np.nan for value in (ours, theirs))
    torch_line, jax_line = lines
    return TrainingFailure(
        stage, number + 1, row.tensor, row.error, row.bound, mine, other, place, words, torch_line, jax_line
    )


def _stage(stage: str, compared: list[Compared]) -> Stage:
    rows = [row for one in compared if (row := one.worst(stage)) is not None]
    if not rows:
        return Stage(stage, 0.0, BOUNDS[stage], "", 0)
    top = max(rows, key=_severity)
    count = max(sum(row.stage == stage for row in one.found) for one in compared)
    return Stage(stage, top.error, top.bound, top.tensor, count)


def _notes(roles: Roles, torch_steps: list[TorchStep]) -> list[str]:
    """Return what a reader should know beside the figures."""
    notes = []
    kept = {slot for slot, _ in roles.slots.values()}
    last = torch_steps[-1].after
    if lost := [slot for slot in last.slots if slot not in kept]:
        notes.append(f"the JAX state has nothing for PyTorch's slot {', '.join(lost)}")
    return notes


def _noise(step: TorchStep, supply: Supply) -> list[TrainingFailure]:
    """Return what is wrong with the random numbers of the forward pass; refuse those that cannot be shared."""
    if step.random:
        raise UserError(f"the forward pass of PyTorch draws random numbers by {step.random}: {OFF}")
    failure = supply.failure()
    return [failure] if failure is not None else []
