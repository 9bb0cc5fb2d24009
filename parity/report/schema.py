"""A report as JSON, by the schema of docs/automation.md; its version changes when a field changes its meaning."""

import math
import re
from typing import Any

from parity.report.advice import advice
from parity.trace.lines import Line

SCHEMA = "parity-report/1"
ADDRESS = re.compile(r" at 0x[0-9a-f]+")  # of an object: another one each time


def to_json(report: Any) -> dict[str, Any]:
    """Return a report for `json.dumps`: no times, no addresses; an error that is not finite is null."""
    return {
        "schema": SCHEMA,
        "name": report.name,
        "ok": report.ok,
        "verdict": report.verdict,
        "status": report.status,
        "stage": report.stage or None,
        "first": of_failure(report.first) if report.first else None,
        "checks": [
            {"check": r.check, "error": _number(r.error), "bound": r.bound, "where": r.where, "note": plain(r.note)}
            | ({"steps": {k: [*map(_number, v)] for k, v in r.trajectory._asdict().items()}} if r.trajectory else {})
            for r in report.results
        ],
        "failures": [of_failure(failure) for failure in report.failures],
        "notes": [plain(note) for note in report.notes],
        "message": None,
    }


def unchecked(name: str, message: str) -> dict[str, Any]:
    """Return the JSON of a pair that could not be checked."""
    empty: dict[str, Any] = {"stage": None, "first": None, "checks": [], "failures": [], "notes": []}
    verdict = {"schema": SCHEMA, "name": name, "ok": False, "verdict": "unchecked", "status": 2}
    return {**verdict, **empty, "message": plain(message)}


def of_failure(failure: Any) -> dict[str, Any]:
    """Return a failure, of a port or of a training."""
    found = {
        "check": failure.check,
        "stage": failure.stage,
        "layer": failure.layer,
        "error": _number(failure.error),
        "bound": failure.bound,
        "diagnosis": plain(failure.diagnosis),
        "cause": plain(failure.cause) or None,
        "try": plain(advice(failure)),
        "values": None,
    }
    if failure.values is not None:
        at, ours, theirs = failure.values
        found["values"] = {"at": list(at), "torch": _value(ours), "jax": _value(theirs)}
    for side in ("torch_line", "jax_line"):
        line: Line | None = getattr(failure, side)
        if line is not None:
            found[side] = {"file": line.file, "line": line.number, "text": line.text}
    if failure.fault:
        found["fault"] = {**failure.fault._asdict(), "error": _number(failure.fault.error)}
        del found["fault"]["arrays"]
    return found


def plain(text: str) -> str:
    """Return a text without the addresses of objects."""
    return ADDRESS.sub("", text)


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _value(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)
