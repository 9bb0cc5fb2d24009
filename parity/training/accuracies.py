"""Do both trainers come to the same accuracy? Many seeds of each, and two tests: of a difference, and of none.

That a difference is not significant shows little, as few seeds never show one. So it is also asked whether the means
are *equivalent*: two one-sided tests (TOST, Schuirmann 1987) reject that they are further apart than a margin.
"""

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from scipy import stats

from data import Loader, UserError
from experiment.backend import Backend
from experiment.cli.command import load_framework
from experiment.config import Config
from experiment.loop.monitor import Monitor
from experiment.loop.task import Task, prepare, score_split
from experiment.runs.snapshot import bad_tensors
from parity.copy import flatten, to_flax

FRAMEWORKS = ("jaxnets", "torchnets")
MARGIN = 0.0025  # of accuracy: a quarter of a percent, 25 of MNIST's 10,000 test images
LEVEL = 0.01  # of each test


class Trained(NamedTuple):
    """One run."""

    framework: str
    seed: int
    accuracy: float  # on the test set, after the last epoch
    initial: dict[str, np.ndarray]  # weights, by Flax's path


class Comparison(NamedTuple):
    """What the runs of both frameworks have shown; accuracies on the test set."""

    jaxnets: tuple[float, ...]
    torchnets: tuple[float, ...]
    difference: float  # Flax's mean less PyTorch's
    p_difference: float  # Welch's t-test: how likely is such a difference if there is none
    p_equivalence: float  # TOST: how likely are means so near if they are further apart than MARGIN
    initial_tensor: str  # the one whose first values differ most
    p_initial: float  # Kolmogorov and Smirnov's test of it, times the number of tensors (Bonferroni)

    @property
    def ok(self) -> bool:
        """Whether the means are equivalent, not significantly different, and the runs started alike."""
        return self.p_equivalence < LEVEL < min(self.p_difference, self.p_initial)

    def __str__(self) -> str:
        sides = (
            f"{name}: mean {np.mean(found):.2%}, standard deviation {np.std(found, ddof=1):.2%}, "
            f"{min(found):.2%} to {max(found):.2%}, {len(found)} seeds"
            for name, found in zip(FRAMEWORKS, (self.jaxnets, self.torchnets), strict=True)
        )
        verdict = "equal" if self.ok else "NOT shown to be equal"
        return "\n".join(
            [
                *sides,
                f"difference of the means {self.difference:+.3%}: p = {self.p_difference:.2g} if there is none "
                f"(Welch), p = {self.p_equivalence:.1g} if it is more than {MARGIN:.2%} (TOST)",
                f"initial weights: the least alike tensor is {self.initial_tensor}, p = {self.p_initial:.2g}",
                f"the two trainings are {verdict}",
            ]
        )


def compare_trainings(config: Config, seeds: int, console: Console) -> Comparison:
    """Train with every seed in both frameworks; a line is printed for each.

    Raises:
        UserError: no such network or dataset, data missing or damaged, or torch not installed.
    """
    backends = {name: load_framework(name) for name in FRAMEWORKS}
    task = prepare(config, backends["jaxnets"].MODELS)
    runs: list[Trained] = []
    for seed in range(seeds):
        for name, backend in backends.items():  # by turns, so that neither has the quieter machine
            runs.append(_run(name, backend, task, config, seed, console))
        ours, theirs = (run.accuracy for run in runs[-2:])
        console.print(f"seed {seed:2}: Flax {ours:.2%}, PyTorch {theirs:.2%}", highlight=False)
    return compare_runs(runs)


def compare_runs(runs: list[Trained]) -> Comparison:
    """Test accuracies and initial weights of two frameworks' runs, two of each or more."""
    ours, theirs = ([run for run in runs if run.framework == name] for name in FRAMEWORKS)
    a, b = (np.array([run.accuracy for run in side]) for side in (ours, theirs))
    # Against the other shifted by the margin, up and down: both must be rejected.
    above = stats.ttest_ind(a, b - MARGIN, equal_var=False, alternative="greater")
    below = stats.ttest_ind(a, b + MARGIN, equal_var=False, alternative="less")
    p_values = dict(_start_alike(ours, theirs))
    tensor = min(p_values, key=lambda path: p_values[path])
    return Comparison(
        jaxnets=tuple(a.tolist()),
        torchnets=tuple(b.tolist()),
        difference=float(a.mean() - b.mean()),
        p_difference=_p(stats.ttest_ind(a, b, equal_var=False)),
        p_equivalence=max(_p(above), _p(below)),
        initial_tensor=tensor,
        p_initial=min(1.0, p_values[tensor] * len(p_values)),
    )


def _run(name: str, backend: Backend, task: Task, config: Config, seed: int, console: Console) -> Trained:
    backend.set_precision(config)
    model, variables = backend.create(backend.MODELS[config.model], len(task.dataset.classes), seed)
    stored = backend.export(variables)
    initial = stored if name == "jaxnets" else flatten(to_flax(stored))
    loader = Loader(task.splits["train"], task.dataset.mean, task.dataset.std, config.batch_size, seed)
    with Monitor(len(loader), config.epochs, console) as monitor:
        for point in backend.fit(model, variables, loader, dataclasses.replace(config, seed=seed), monitor):
            variables = point.variables
            monitor.end()
            if monitor.bad:
                raise UserError(f"{name}, seed {seed}: step {monitor.bad.number + 1} of an epoch is not finite")
        if monitor.received:
            raise KeyboardInterrupt
        if tensors := bad_tensors(backend.export(variables)):  # the last step's gradients were finite, not its result
            raise UserError(f"{name}, seed {seed}: the training ends with {tensors[0]}, which is not finite")
        score = score_split(backend, model, variables, task, "test", config)
    return Trained(name, seed, score.accuracy, {path: np.array(array) for path, array in initial.items()})


def _start_alike(ours: list[Trained], theirs: list[Trained]) -> Iterator[tuple[str, float]]:
    """Yield each tensor's p-value: how likely are values so different if both are drawn from one distribution."""
    for path in theirs[0].initial:
        a, b = (np.concatenate([run.initial[path].ravel() for run in side]) for side in (ours, theirs))
        if a.std() == b.std() == 0:  # a norm layer's ones, a counter
            yield path, float(a[0] == b[0])
        else:
            yield path, _p(stats.ks_2samp(a, b))


def _p(result: Any) -> float:
    return float(result.pvalue)
