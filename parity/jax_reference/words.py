"""The words of the checks for a reference that is not PyTorch."""

import re

from parity.report import Report


def in_words(report: Report, reference: str, model: str) -> Report:
    """Return a report that calls the sides what they are, "Linen" and "NNX", not PyTorch and JAX or Flax."""
    first, second = (reference, model) if reference != model else ("the first", "the second")

    def said(text: str) -> str:
        return re.sub(r"\b(JAX|Flax)\b(?! module)", second, re.sub(r"\bPyTorch\b", first, text))

    results = tuple(
        r._replace(
            where=said(r.where),
            note=said(r.note),
            failure=r.failure and r.failure._replace(diagnosis=said(r.failure.diagnosis)),
        )
        for r in report.results
    )
    return report._replace(results=results, notes=tuple(map(said, report.notes)))
