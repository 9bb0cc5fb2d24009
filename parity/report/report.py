"""What a check found, as data and as JSON."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from parity.trace.lines import Line


class CompilerFault(NamedTuple):
    """A part of a module's program that XLA computes wrong."""

    program: str  # "forward, eval" or "gradients, train"
    dtype: str
    error: float  # relative L2 norm; infinite if the process ended
    ended: str  # how the process ended; "" if it did not
    operations: tuple[tuple[str, str], ...]  # the smallest part that shows it: name and line of the source
    script: str  # reproduces it without this project; "" if the part cannot be written in Python
    printed: str  # what the script printed when it was run, or why there is none
    arrays: Mapping[str, np.ndarray]  # the script's inputs, if it needs these: in SCRIPT.npz
    in_checks: bool = False  # whether the checks' own programs are wrong too, so that their verdict means nothing


class Failure(NamedTuple):
    """A check that did not hold, and where."""

    check: str
    stage: str  # structure, copy, forward, backward, statistics, optimizer or compiler
    layer: str  # the first layer that differs, in forward order; for weights and gradients, the tensor
    error: float
    bound: float
    diagnosis: str
    fault: CompilerFault | None = None  # what the compiler is to blame for
    torch_line: Line | None = None  # of the user's PyTorch file, where the two part
    jax_line: Line | None = None


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
    notes: tuple[str, ...] = ()  # what else a reader should know: layouts, tables, precision

    @property
    def ok(self) -> bool:
        """Whether every check held."""
        return bool(self.results) and not self.failures

    @property
    def failures(self) -> tuple[Failure, ...]:
        """What did not hold."""
        return tuple(result.failure for result in self.results if result.failure)

    @property
    def fault(self) -> CompilerFault | None:
        """What the compiler computes wrong, if anything."""
        return next((failure.fault for failure in self.failures if failure.fault), None)

    @property
    def verdict(self) -> str:
        """Return "same", "different", or "compiler": the port is not to blame, XLA computes something else."""
        others = [failure for failure in self.failures if not failure.fault]
        if self.fault and (self.fault.in_checks or not others):
            return "compiler"
        return "same" if self.ok else "different"

    def to_json(self) -> dict[str, Any]:
        """Return the report for `json.dumps`; an error that is not finite is null."""
        checks = [
            {"check": r.check, "error": _number(r.error), "bound": r.bound, "where": r.where, "note": r.note}
            for r in self.results
        ]
        failures = [_failure_to_json(failure) for failure in self.failures]
        return {
            "name": self.name,
            "ok": self.ok,
            "verdict": self.verdict,
            "checks": checks,
            "failures": failures,
            "notes": list(self.notes),
        }


def _failure_to_json(failure: Failure) -> dict[str, Any]:
    found = {**failure._asdict(), "error": _number(failure.error)}
    del found["fault"]
    for side in ("torch_line", "jax_line"):
        line: Line | None = found.pop(side)
        if line is not None:
            found[side] = {"file": line.file, "line": line.number, "text": line.text}
    if failure.fault:
        found["fault"] = {**failure.fault._asdict(), "error": _number(failure.fault.error)}
        del found["fault"]["arrays"]
    return found


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def verdict(reports: Iterable[Report]) -> str:
    """Return the closing line."""
    reports = list(reports)
    held = sum(len(report.results) - len(report.failures) for report in reports)
    failed = sum(len(report.failures) for report in reports)
    networks = "1 network" if len(reports) == 1 else f"{len(reports)} networks"
    wrong = sum(report.verdict == "compiler" for report in reports)
    blame = f"; the compiler is wrong in {wrong}" if wrong else ""
    return f"{networks}: {held} checks hold, {failed} fail{blame}"


def exit_status(reports: Iterable[Report]) -> int:
    """Return 0 if all are the same, 1 if a port is different, 3 if nothing but the compiler is wrong."""
    verdicts = {report.verdict for report in reports}
    return 1 if "different" in verdicts else 3 if "compiler" in verdicts else 0
