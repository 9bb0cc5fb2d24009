"""What a check found, as data; and how it is shown: as text, as JSON, and as a page of HTML."""

from parity.report.report import CompilerFault, Failure, Report, Result, exit_status, print_report, verdict

__all__ = ["CompilerFault", "Failure", "Report", "Result", "exit_status", "print_report", "verdict"]
