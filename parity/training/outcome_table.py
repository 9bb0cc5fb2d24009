"""A report of two trainings as a table."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from parity.training.outcome import TrainingReport


def print_table(console: Console, report: TrainingReport) -> None:
    """Print a report as a table."""
    title = f"{report.name}, {report.steps} steps"
    table = Table("stage", "worst", "bound", "", "where", title=title, title_justify="left")
    failed = {failure.stage for failure in report.failures}
    for row in report.stages:
        if not row.tensors:
            table.add_row(row.stage, "", "", "", row.note or "neither side has any")
            continue
        verdict = Text("FAIL", "red") if row.stage in failed else Text("ok", "green")
        if row.stage not in failed and not row.error <= row.bound:
            verdict = Text("follows")  # from a stage before it
        table.add_row(
            row.stage,
            f"{row.error:.1e}",
            f"{row.bound:.0e}",
            verdict,
            row.tensor + (f" ({row.note})" if row.note else ""),
        )
    console.print(table)
