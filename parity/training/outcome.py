"""What a check of two trainings found: data, JSON, text."""

import importlib
import math
from typing import Any, NamedTuple

import numpy as np

from parity.report import schema
from parity.report.advice import advice
from parity.report.brief import LINES, short
from parity.report.compare import Values
from parity.report.plain import Plain
from parity.report.report import DIFFERENT, SAME, Result
from parity.trace.lines import Line

# What to try, by stage, where neither the cause nor both lines are known.
TRY = {
    "forward": "give both sides the same batch, and compare what both networks compute in training mode",
    "loss": "the outputs agree: compare reduction, weights, smoothing and penalties of the loss",
    "gradients": "the loss agrees: look for a stopped gradient, another factor, pieces added up in another way",
    "update": "the gradients agree: compare clipping, schedule, decay and rule, and in which order they are applied",
    "statistics": "compare momentum and variance of the norm layers, and when they are updated",
    "average": "compare decay, warm-up and order of the moving average, and what it includes",
}


class TrainingFailure(NamedTuple):
    """A stage that differs: at its first step, the tensor that is furthest off."""

    stage: str
    step: int  # from 1
    tensor: str
    error: float
    bound: float
    torch_value: float  # where both differ most
    jax_value: float
    place: str  # which element that is
    diagnosis: str  # what it is, if a hypothesis reproduces JAX's numbers
    torch_line: Line | None = None
    jax_line: Line | None = None

    # The names of `parity.report.schema`, so that a program reads both reports in the same way.
    fault = None

    @property
    def check(self) -> str:
        """Return the name of the check, which is the stage."""
        return self.stage

    @property
    def layer(self) -> str:
        """Return the tensor."""
        return self.tensor

    @property
    def cause(self) -> str:
        """Return what the difference is; "" if no hypothesis reproduces it."""
        return self.diagnosis

    @property
    def values(self) -> Values | None:
        """Return both sides' numbers where they are furthest apart."""
        if np.isnan(self.torch_value) and np.isnan(self.jax_value):
            return None
        at = tuple(int(i) for i in self.place.strip("[]").split(",") if i.strip())
        return Values(at, self.torch_value, self.jax_value)

    @property
    def advice(self) -> str:
        """Return what to try; "" if the cause tells, or both lines of the forward pass."""
        if self.cause or (self.stage == "forward" and self.torch_line and self.jax_line):
            return ""
        return TRY[self.stage] + (f"; {self.jax_line.place}" if self.jax_line else "")

    @property
    def found(self) -> str:
        """Return both values, and where they are."""
        words = "PyTorch has {}, JAX {}".format(*_digits(self.torch_value, self.jax_value))
        return words + (f" at {self.place}" if self.place else "")

    @property
    def text(self) -> str:
        """Return one line."""
        where = " against ".join(str(line) for line in (self.torch_line, self.jax_line) if line is not None)
        words = f"{self.stage} differs at step {self.step}, {self.tensor}: {self.found}"
        return words + (f"; {self.diagnosis}" if self.diagnosis else "") + (f"; {where}" if where else "")


class Stage(NamedTuple):
    """A stage's worst figure over all steps that were compared."""

    stage: str
    error: float
    bound: float
    tensor: str
    tensors: int  # how many are compared at each step
    note: str = ""


class TrainingReport(NamedTuple):
    """What was found out about two trainings."""

    name: str
    steps: int
    stages: tuple[Stage, ...]
    failures: tuple[TrainingFailure, ...] = ()  # one for each stage that differs, in the order of a step
    notes: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every stage of every step agrees."""
        return bool(self.stages) and not self.failures

    @property
    def verdict(self) -> str:
        """Return "same" or "different"."""
        return "same" if self.ok else "different"

    @property
    def status(self) -> int:
        """Return the exit status: 0 the same, 1 different."""
        return SAME if self.ok else DIFFERENT

    @property
    def first(self) -> TrainingFailure | None:
        """Return the first difference."""
        return next(iter(self.failures), None)

    @property
    def results(self) -> tuple[Result, ...]:
        """Return the stages that are compared, as a port's checks."""
        return tuple(Result(s.stage, s.error, s.bound, s.tensor, s.note) for s in self.stages if s.tensors)

    @property
    def stage(self) -> str | None:
        """Return the first stage that differs."""
        return self.failures[0].stage if self.failures else None

    @property
    def step(self) -> int | None:
        """Return the first step, from 1, at which that stage differs."""
        return self.failures[0].step if self.failures else None

    @property
    def begins_apart(self) -> bool:
        """Whether the first step's forward pass or loss differs, as with random numbers in another layout."""
        return self.step == 1 and self.stage in ("forward", "loss")

    @property
    def diagnosis(self) -> str:
        """Return what the first difference is; "" if no hypothesis reproduces it."""
        return self.failures[0].diagnosis if self.failures else ""

    def to_json(self) -> dict[str, Any]:
        """Return the report for `json.dumps`, by the schema of docs/automation.md, with what a training has beside."""
        return {
            **schema.to_json(self),
            "steps": self.steps,
            "step": self.step,
            "diagnosis": self.diagnosis,
            "stages": [{key: _json(value) for key, value in stage._asdict().items()} for stage in self.stages],
            "first": _failure(self.first) if self.first else None,
            "failures": [_failure(failure) for failure in self.failures],
        }


def _failure(failure: TrainingFailure) -> dict[str, Any]:
    own = ("step", "tensor", "torch_value", "jax_value", "place")
    return {**schema.of_failure(failure), **{key: _json(getattr(failure, key)) for key in own}}


def brief(report: TrainingReport) -> str:
    """Return at most ten lines, the same each time: the first difference, and which stages differ beside it."""
    failed, first = [failure.stage for failure in report.failures], report.first
    agree = sum(row.check not in failed and row.error <= row.bound for row in report.results)
    lines = [f"{report.verdict}: {report.name}: {agree} stages agree in {report.steps} steps, {len(failed)} differ"]
    if first is not None:
        lines.append(f"stage: {first.stage}, step: {first.step}, tensor: {first.tensor}")
        lines += [f"PyTorch: {first.torch_line}"] if first.torch_line else []
        lines += [f"JAX: {first.jax_line}"] if first.jax_line else []
        lines += [f"values: {first.found}"]
        lines += [f"diagnosis: {first.diagnosis}"] if first.diagnosis else []
        lines.append(f"try: {advice(first)}")
        lines += [f"then: {', '.join(failed[1:])}"] if failed[1:] else []
    lines += [f"note: {note}" for note in report.notes]
    return "\n".join(short(line) for line in lines[:LINES])


def _digits(ours: float, theirs: float) -> tuple[str, str]:
    """Return two numbers with as many digits as tell them apart, nine at least."""
    pairs = ((f"{ours:.{digits}g}", f"{theirs:.{digits}g}") for digits in range(9, 18))
    return next((pair for pair in pairs if pair[0] != pair[1]), (f"{ours:.9g}", f"{theirs:.9g}"))


def _json(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def print_outcome(console: Any, report: TrainingReport) -> None:
    """Print a report as a table, and each failure below it in words; in lines where rich is not installed."""
    if isinstance(console, Plain):
        for line in _lines(report):
            console.print(line)
    else:
        importlib.import_module("parity.training.outcome_table").print_table(console, report)
    for note in report.notes:
        console.print(f"  {note}", soft_wrap=True, highlight=False, markup=False)
    for failure in report.failures:
        console.print(failure.text, soft_wrap=True, highlight=False, markup=False, style="red")


def _lines(report: TrainingReport) -> list[str]:
    failed = {failure.stage for failure in report.failures}
    found = [f"{report.name}, {report.steps} steps"]
    for row in report.stages:
        verdict = "FAIL" if row.stage in failed else "ok" if row.error <= row.bound else "follows"
        words = (
            f"{row.error:.1e} {row.bound:>6.0e} {verdict:7} {row.tensor}" if row.tensors else "neither side has any"
        )
        found.append(f"  {row.stage:10} {words}")
    return found


def summary(report: TrainingReport) -> str:
    """Return the closing line."""
    if report.ok:
        return f"the same training: every stage of {report.steps} steps agrees"
    return f"different: {report.stage} differs at step {report.step}"
