"""What a check found, as a table."""

import io

from rich.console import Console
from rich.table import Table
from rich.text import Text

from parity.report.report import Report

COLOURS = {"FAIL": "red", "ok": "green", "-": ""}


def print_report(console: Console, report: Report) -> None:
    """Print a report as a table, and each failure below it in words."""
    table = Table("check", "worst", "bound", "", "where", title=report.name, title_justify="left")
    for result in report.results:
        error, bound, verdict = result.figures
        where = f"{result.where} ({result.note})" if result.where and result.note else result.where or result.note
        table.add_row(result.check, error, bound, Text(verdict, COLOURS[verdict]), where)
    console.print(table)
    for note in report.notes:
        console.print(f"  {note}", soft_wrap=True, highlight=False, markup=False)
    for failure in report.failures:
        line = f"{report.name}: {failure.check} fails at {failure.layer} ({failure.stage}): {failure.diagnosis}"
        console.print(line, soft_wrap=True, highlight=False, markup=False, style="red")
        for side, place in (("PyTorch", failure.torch_line), ("JAX", failure.jax_line)):
            if place is not None and str(place) not in failure.diagnosis:
                console.print(f"  {side}: {place}", soft_wrap=True, highlight=False, markup=False)
    if report.fault and report.fault.script:
        console.print("The part as a script of its own (--save-script FILE writes it):", highlight=False)
        console.print(report.fault.script, soft_wrap=True, highlight=False, markup=False)
        console.print(f"which prints: {report.fault.printed}", soft_wrap=True, highlight=False, markup=False)


def as_text(report: Report) -> str:
    """Return what `print_report` prints, without colours."""
    text = io.StringIO()
    print_report(Console(file=text, width=120, color_system=None), report)
    return text.getvalue().rstrip()
