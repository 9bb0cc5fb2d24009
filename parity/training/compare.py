"""Both sides of a training, here or in a file: stages compared, failures, notes. Neither framework is imported."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from parity.mapping.rule import Rule
from parity.report.compare import norm
from parity.training.behind import behind_updates
from parity.training.explain import Evidence, Lines, diagnosed
from parity.training.missing import missing, untied
from parity.training.outcome import Stage, TrainingFailure, TrainingReport
from parity.training.precision import Precision, differences, not_compared
from parity.training.roles import Roles, averaged_statistics, groups, slots_and_averages, statistics
from parity.training.single_rate import with_single_rate
from parity.training.stages import BOUNDS, STAGES, Compared, Found, compare_step, fed_with_gradients
from parity.training.steps import TorchStep, without_velocities
from parity.training.targets import followers, like_copies, split_targets, with_joined, with_targets
from parity.training.weights import First, forward

# A stage that follows from another is not compared where that one differs.
FOLLOWS = {"loss": ("forward",), "gradients": ("forward", "loss"), "statistics": ("forward",)}


class TorchSide(Protocol):
    """A PyTorch training, be it here or in a file."""

    @property
    def shares(self) -> Mapping[str, Any]:
        """Return a batch's share in running statistics, PyTorch's momentum, by layer."""
        ...

    def precision(self) -> Precision | None:
        """Return what it computes in which type, as its user runs it."""
        ...


class JaxSide(Protocol):
    """A JAX training, be it here or in a file."""

    @property
    def leaves(self) -> Mapping[str, np.ndarray]:
        """Return the state by path."""
        ...

    def program(self, batch: Any, /) -> Any:
        """Return the step for a batch."""
        ...

    def precision(self, batch: Any, /) -> Precision | None:
        """Return what it computes in which type, as its user runs it."""
        ...


def compared(
    ours: TorchSide,
    theirs: JaxSide,
    first: First,
    steps: Sequence[TorchStep],
    batches: Sequence[Any],
    given: Sequence[Any],
    noise: Sequence[TrainingFailure] = (),
    notes: Sequence[str] = (),
    weights: Mapping[str, Rule] | None = None,
) -> TrainingReport:
    """Compare both sides, which were given the same random numbers.

    Args:
        ours: PyTorch's training.
        theirs: JAX's.
        first: PyTorch's first step with random weights.
        steps: PyTorch's.
        batches: JAX's.
        given: what JAX's programs are given: the batches, and what is drawn outside.
        noise: what is wrong with the random numbers.
        notes: what a report says of them.
        weights: how leaves are made of PyTorch's, of those for which this is known.
    """
    passed = forward(first, theirs, given[0], weights)
    torch_steps = without_velocities(list(steps))
    inside = followers(torch_steps)
    torch_steps, joined = with_joined(with_targets(torch_steps, inside))
    params, targets = split_targets(
        passed.rules, inside, joined, {n for n, g in torch_steps[0].raw.items() if g.any()}
    )
    targets = like_copies(targets, params, theirs.leaves)
    kept_beside = theirs.program(given[0]).carried()  # as a recurrent state
    weights_left = {leaf: array for leaf, array in theirs.leaves.items() if leaf not in kept_beside}
    params |= behind_updates(torch_steps, params, targets, weights_left)
    buffers = torch_steps[0].before.buffers
    kept = {leaf: rule for leaf, rule in params.items() if all(key in buffers for key in rule.sources)}
    params = {leaf: rule for leaf, rule in params.items() if leaf not in kept}
    known = Roles(params, {}, targets, kept)
    found, roles = compare_steps(theirs, torch_steps, given, known, passed.rules)
    seen = Evidence(found, torch_steps, list(batches), passed, roles, ours.shares)
    failures = _failures(seen)
    kinds = ours.precision(), theirs.precision(batches[0])
    types = differences(*kinds, roles)
    failures = _with_others([*failures, *noise], [*types, *missing(torch_steps, roles), *untied(found, roles)])
    stages = tuple(_stage(stage, found) for stage in STAGES)
    return TrainingReport(
        "", len(batches), stages, tuple(failures), (*_notes(roles, torch_steps), *not_compared(*kinds), *notes)
    )


def compare_steps(
    theirs: JaxSide,
    torch_steps: list[TorchStep],
    batches: Sequence[Any],
    known: Roles,
    rules: Mapping[str, Rule],
) -> tuple[list[Compared], Roles]:
    """Compare each step, JAX's from PyTorch's state; what PyTorch has no word for goes on as JAX computes it.

    Args:
        theirs: JAX's training.
        torch_steps: PyTorch's steps.
        batches: what JAX's are given.
        known: the parameters, and the averages that the loss is computed with.
        rules: of both, from PyTorch's tensors by their own names.
    """
    roles, complete = known, False
    leaves, compared = dict(theirs.leaves), []
    first = next((i for i, step in enumerate(torch_steps) if step.after.slots), 0)
    for number, (step, batch) in enumerate(zip(torch_steps, batches, strict=True)):
        program = theirs.program(batch)
        leaves = roles.fed(leaves, step.before)
        if number == 0:
            leaves |= _copied(
                known.params, {n: a for n, a in theirs.leaves.items() if n not in known.averages}, leaves
            )
        if number == 0 or (not complete and number >= first):
            roles = _roles(known._replace(statistics=roles.statistics), rules, program, leaves, batch, step)
            complete = number >= first
            at = step.before if number else step.before._replace(slots={})  # what a slot starts with is JAX's
            leaves = roles.fed(leaves, at)
        compared.append(compare_step(program, leaves, batch, step, roles))
        if program.single:
            compared[-1] = with_single_rate(len(compared) - 1, compared, torch_steps, roles)
        leaves = {leaf: np.asarray(node.array, leaves[leaf].dtype) for leaf, node in compared[-1].fed.outputs.items()}
    return compared, roles


def _copied(
    params: Mapping[str, Rule], made: Mapping[str, np.ndarray], leaves: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Return the copies of parameters as which averages start, with what the parameters are now."""
    found = dict[str, np.ndarray]()
    for copies in groups(params, made).values():
        for members in copies:
            if all(np.array_equal(made[ours], made[copy]) for ours, copy in members.items()):
                found |= {copy: leaves[ours] for ours, copy in members.items() if made[ours].any()}
    return found


def _roles(roles: Roles, rules: Mapping[str, Rule], program: Any, leaves: Any, batch: Any, step: TorchStep) -> Roles:
    tape = fed_with_gradients(program, leaves, batch, step, roles)
    after = {leaf: np.asarray(node.array) for leaf, node in tape.outputs.items()}
    free = {leaf: array for leaf, array in leaves.items() if leaf not in roles.averages}
    slots, averages = slots_and_averages(roles.params, free, after, step.after)
    averages |= roles.averages
    given = {leaf: rule for leaf, rule in roles.statistics.items() if leaf in rules}  # those that the loss uses
    used = {*roles.params, *slots, *averages, *given}
    used |= {leaf for copies in groups(roles.params, free).values() for leaf in copies[0].values()}
    others = {leaf: array for leaf, array in leaves.items() if leaf not in used}
    found = {leaf: rule for leaf, rule in roles.statistics.items() if leaf not in given}
    found = found or statistics(rules, others, after, step.before, step.after)
    averages |= averaged_statistics(found, others, step.after)
    found |= given
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
