"""A report in at most ten lines, the same each time: no table, no time."""

from collections.abc import Sequence

from parity.report.advice import advice
from parity.report.report import Report, counts
from parity.report.schema import plain

LINES, WIDTH = 10, 400


def brief(reports: Sequence[Report]) -> str:
    """Return what a program or a person in a hurry must know: a pair's first difference, or a line a network."""
    lines = _of_pair(reports[0]) if len(reports) == 1 else _of_many(reports)
    return "\n".join(short(line) for line in lines[:LINES])


def short(line: str) -> str:
    """Return a line of a brief report: one line, no addresses."""
    return plain(" ".join(line.split()))[:WIDTH]


def _of_pair(report: Report) -> list[str]:
    first = report.first
    lines = [f"{report.verdict}: {report.name}: {counts([report])}"]
    if first is None:
        return lines
    lines.append(f"stage: {first.stage} ({first.check}), layer: {first.layer}")
    lines += [f"PyTorch: {first.torch_line}"] if first.torch_line else []
    lines += [f"JAX: {first.jax_line}"] if first.jax_line else []
    lines += [f"values: {first.values}"] if first.values else []
    lines.append(f"diagnosis: {first.cause or first.diagnosis}")
    lines.append(f"try: {advice(first)}")
    others = list(dict.fromkeys(f.check for f in report.failures if f is not first))
    return [*lines, f"then: {', '.join(others)}"] if others else lines


def _of_many(reports: Sequence[Report]) -> list[str]:
    wrong = [report for report in reports if not report.ok]
    lines = [f"{len(reports) - len(wrong)} of {len(reports)} networks are the same"]
    lines += [f"{r.verdict}: {r.name}: {r.first.check} at {r.first.layer}" for r in wrong if r.first]
    more = len(lines) - LINES
    return [*lines[: LINES - 1], f"and {more + 1} more"] if more > 0 else lines
