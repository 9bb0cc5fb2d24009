"""What a check found, as data; and how it is shown: as text, as JSON, and as a page of HTML."""

import importlib
from typing import Any

from parity.report.plain import Plain, print_lines
from parity.report.report import CompilerFault, Failure, Report, Result, Trajectory, exit_status, verdict

__all__ = ["CompilerFault", "Failure", "Report", "Result", "Trajectory", "exit_status", "print_report", "verdict"]


def print_report(console: Any, report: Report) -> None:
    """Print a report as a table, and each failure below it in words; in lines, if the console has no tables."""
    if isinstance(console, Plain):
        print_lines(console, report)
    else:
        importlib.import_module("parity.report.table").print_report(console, report)  # here: rich may be missing
