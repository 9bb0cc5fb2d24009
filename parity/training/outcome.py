"""What a check of two trainings found: data, JSON, text."""

import math
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from parity.trace.lines import Line


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

    @property
    def text(self) -> str:
        """Return one line."""
        where = " against ".join(str(line) for line in (self.torch_line, self.jax_line) if line is not None)
        found = "PyTorch has {}, JAX {}".format(*_digits(self.torch_value, self.jax_value)) + (
            f" at {self.place}" if self.place else ""
        )
        words = f"{self.stage} differs at step {self.step}, {self.tensor}: {found}"
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
    def stage(self) -> str | None:
        """Return the first stage that differs."""
        return self.failures[0].stage if self.failures else None

    @property
    def step(self) -> int | None:
        """Return the first step, from 1, at which that stage differs."""
        return self.failures[0].step if self.failures else None

    @property
    def diagnosis(self) -> str:
        """Return what the first difference is; "" if no hypothesis reproduces it."""
        return self.failures[0].diagnosis if self.failures else ""

    def to_json(self) -> dict[str, Any]:
        """Return the report for `json.dumps`; a number that is not finite is null."""
        return {
            "name": self.name,
            "ok": self.ok,
            "steps": self.steps,
            "stage": self.stage,
            "step": self.step,
            "diagnosis": self.diagnosis,
            "stages": [{key: _json(value) for key, value in stage._asdict().items()} for stage in self.stages],
            "failures": [{key: _json(value) for key, value in f._asdict().items()} for f in self.failures],
            "notes": list(self.notes),
        }


def _digits(ours: float, theirs: float) -> tuple[str, str]:
    """Return two numbers with as many digits as tell them apart, nine at least."""
    pairs = ((f"{ours:.{digits}g}", f"{theirs:.{digits}g}") for digits in range(9, 18))
    return next((pair for pair in pairs if pair[0] != pair[1]), (f"{ours:.9g}", f"{theirs:.9g}"))


def _json(value: Any) -> Any:
    if isinstance(value, Line):
        return {"file": value.file, "line": value.number, "text": value.text}
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def print_outcome(console: Console, report: TrainingReport) -> None:
    """Print a report as a table, and each failure below it in words."""
    title = f"{report.name}, {report.steps} steps"
    table = Table("stage", "worst", "bound", "", "where", title=title, title_justify="left")
    failed = {failure.stage for failure in report.failures}
    for row in report.stages:
        if not row.tensors:
            table.add_row(row.stage, "", "", "", row.note or "neither side has any")
            continue
        verdict = Text("FAIL", "red") if row.stage in failed else Text("ok", "green")
        table.add_row(
            row.stage,
            f"{row.error:.1e}",
            f"{row.bound:.0e}",
            verdict,
            row.tensor + (f" ({row.note})" if row.note else ""),
        )
    console.print(table)
    for note in report.notes:
        console.print(f"  {note}", soft_wrap=True, highlight=False, markup=False)
    for failure in report.failures:
        console.print(failure.text, soft_wrap=True, highlight=False, markup=False, style="red")


def summary(report: TrainingReport) -> str:
    """Return the closing line."""
    if report.ok:
        return f"the same training: every stage of {report.steps} steps agrees"
    return f"different: {report.stage} differs at step {report.step}"
