"""A report in lines, for a machine without rich: a record needs no more than numpy and safetensors."""

from typing import Any

from parity.report.report import Report


class Plain:
    """A console that prints lines as they are; a quiet one prints nothing."""

    def __init__(self, quiet: bool = False):
        self.quiet = quiet

    def print(self, text: Any, **_: Any) -> None:
        """Print a line."""
        if not self.quiet:
            print(text)


def print_lines(console: Plain, report: Report) -> None:
    """Print a report, and each failure below it in words."""
    console.print(report.name)
    for result in report.results:
        error, bound, verdict = result.figures
        words = f"{result.where} ({result.note})" if result.where and result.note else result.where or result.note
        console.print(f"  {result.check:14} {error:>7} {bound:>6} {verdict:5} {words}")
    for note in report.notes:
        console.print(f"  {note}")
    for failure in report.failures:
        console.print(
            f"{report.name}: {failure.check} fails at {failure.layer} ({failure.stage}): {failure.diagnosis}"
        )
        for side, place in (("PyTorch", failure.torch_line), ("JAX", failure.jax_line)):
            if place is not None and str(place) not in failure.diagnosis:
                console.print(f"  {side}: {place}")
