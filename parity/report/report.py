"""What a check found, as data and as JSON."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from parity.report.compare import Values
from parity.report.schema import to_json
from parity.trace.lines import Line

NOT_MADE = "not compared"  # how the note of a check that was not made begins
SAME, DIFFERENT, UNCHECKED, COMPILER = range(4)  # exit status; UNCHECKED: nothing could be compared


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
    values: Values | None = None  # both sides' numbers where they are furthest apart
    cause: str = ""  # what the difference is, where something reproduces it; a part of the diagnosis
    advice: str = ""  # what to try, where that is known better than `parity.report.advice` says


class Trajectory(NamedTuple):
    """Both sides of a training, step by step."""

    torch: tuple[float, ...]  # losses
    jax: tuple[float, ...]
    parameters: tuple[float, ...]  # the distance of all parameters after each step, relative to PyTorch's norm


class Result(NamedTuple):
    """A check's worst figure."""

    check: str
    error: float
    bound: float
    where: str  # the tensor with the worst figure
    note: str = ""
    failure: Failure | None = None
    trajectory: Trajectory | None = None  # of a training

    @property
    def made(self) -> bool:
        """Whether anything was compared."""
        return not self.note.startswith(NOT_MADE)

    @property
    def figures(self) -> tuple[str, str, str]:
        """Return the error, the bound and the verdict as a table has them."""
        if not self.made:
            return "-", "-", "-"
        bound = "exact" if self.bound == 0 else f"{self.bound:.0e}"
        return f"{self.error:.1e}", bound, "FAIL" if self.failure else "ok"


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

    @property
    def status(self) -> int:
        """Return the exit status: 0 the same, 1 different, 3 the compiler's fault."""
        return {"same": SAME, "different": DIFFERENT, "compiler": COMPILER}[self.verdict]

    @property
    def first(self) -> Failure | None:
        """Return the first difference; the compiler's fault, if that is the verdict."""
        blamed = [failure for failure in self.failures if failure.fault or self.verdict != "compiler"]
        return next(iter(blamed), None)

    @property
    def stage(self) -> str:
        """Return the stage of the first difference; "" if there is none."""
        return self.first.stage if self.first else ""

    def to_json(self) -> dict[str, Any]:
        """Return the report for `json.dumps`, by the schema of docs/automation.md."""
        return to_json(self)


def counts(reports: Iterable[Any]) -> str:
    """Return how many checks of all reports hold and how many do not, and how many were not made."""
    reports = list(reports)
    failed = sum(len(report.failures) for report in reports)
    made = [result.made for report in reports for result in report.results]
    idle = made.count(False)
    return f"{len(made) - failed - idle} checks hold, {failed} fail" + (f", {idle} not made" if idle else "")


def verdict(reports: Iterable[Report]) -> str:
    """Return the closing line."""
    reports = list(reports)
    networks = "1 network" if len(reports) == 1 else f"{len(reports)} networks"
    wrong = sum(report.verdict == "compiler" for report in reports)
    blame = f"; the compiler is wrong in {wrong}" if wrong else ""
    return f"{networks}: {counts(reports)}{blame}"


def exit_status(reports: Iterable[Report]) -> int:
    """Return 0 if all are the same, 1 if a port is different, 3 if nothing but the compiler is wrong."""
    verdicts = {report.verdict for report in reports}
    return 1 if "different" in verdicts else 3 if "compiler" in verdicts else 0
