"""What a check found, as data, as JSON, and as a table."""

import math
from collections.abc import Iterable
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table


class Failure(NamedTuple):
    """A check that did not hold, and where."""

    check: str
    stage: str  # structure, copy, forward, backward, statistics or optimizer
    layer: str  # the first layer that differs, in forward order; for weights and gradients, the tensor
    error: float
    bound: float
    diagnosis: str


class Result(NamedTuple):
    """A check's worst figure."""

    check: str
    error: float
    bound: float
    where: str  # the tensor with the worst figure
    note: str = ""
    failure: Failure | None = None


class Report(NamedTuple):
    """All checks of a pair of networks."""

    name: str
    results: tuple[Result, ...]
    zeros: frozenset[str] = frozenset()  # tensors whose true gradient was found to be zero

    @property
    def ok(self) -> bool:
        """Whether every check held."""
        return bool(self.results) and not self.failures

    @property
    def failures(self) -> tuple[Failure, ...]:
        """What did not hold."""
        return tuple(result.failure for result in self.results if result.failure)

    def to_json(self) -> dict[str, Any]:
        """Return the report for `json.dumps`; an error that is not finite is null."""
        checks = [
            {"check": r.check, "error": _number(r.error), "bound": r.bound, "where": r.where, "note": r.note}
            for r in self.results
        ]
        failures = [{**failure._asdict(), "error": _number(failure.error)} for failure in self.failures]
        return {"name": self.name, "ok": self.ok, "checks": checks, "failures": failures}


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def print_report(console: Console, report: Report) -> None:
    """Print a report as a table, and each failure below it in words."""
    table = Table("check", "worst", "bound", "", "where", title=report.name, title_justify="left")
    for result in report.results:
        bound = "exact" if result.bound == 0 else f"{result.bound:.0e}"
        verdict = "[red]FAIL[/]" if result.failure else "[green]ok[/]"
        where = f"{result.where} ({result.note})" if result.where and result.note else result.where or result.note
        table.add_row(result.check, f"{result.error:.1e}", bound, verdict, where)
    console.print(table)
    for failure in report.failures:
        line = f"{report.name}: {failure.check} fails at {failure.layer} ({failure.stage}): {failure.diagnosis}"
        console.print(line, soft_wrap=True, highlight=False, markup=False, style="red")


def verdict(reports: Iterable[Report]) -> str:
    """Return the closing line."""
    reports = list(reports)
    held = sum(len(report.results) - len(report.failures) for report in reports)
    failed = sum(len(report.failures) for report in reports)
    networks = "1 network" if len(reports) == 1 else f"{len(reports)} networks"
    return f"{networks}: {held} checks hold, {failed} fail"
