"""What a check found, as data; and how it is shown: as text, as JSON, and as a page of HTML."""

import importlib
from typing import TYPE_CHECKING, Any

from parity.report.report import CompilerFault, Failure, Report, Result, exit_status, verdict

if TYPE_CHECKING:
    from parity.report.table import print_report

__all__ = ["CompilerFault", "Failure", "Report", "Result", "exit_status", "print_report", "verdict"]


def __getattr__(name: str) -> Any:  # a table needs more packages than the data
    if name == "print_report":
        return importlib.import_module("parity.report.table").print_report
    raise AttributeError(f"module 'parity.report' has no attribute '{name}'")
