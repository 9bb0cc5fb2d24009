"""The checks of networks: read from the JSON of `parity check --json`, or run now."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from data import UserError
from parity.overview.sources import RESULTS, Figures, read_json, shown, source
from parity.report.schema import SCHEMA

NETWORKS = RESULTS / "parity-cpu.json"
STEPS = ("torch", "jax", "parameters")
WAYS = ("forward", "backward")
CHECK_FIELDS = {"check": str, "error": (int, float, type(None)), "bound": (int, float)}


def read_checks(path: Path) -> Figures:
    """Return the reports of a file, and the errors of layers, if it has them.

    The file is what `parity check --json` writes, or an object that says its origin and has that list in `reports`.

    Raises:
        UserError: it is neither.
    """
    found = read_json(path)
    about = found if isinstance(found, dict) else {}
    if "checks" in about and isinstance(about["checks"], dict):  # the figures of an earlier report
        about = about["checks"]
    reports = about.get("reports", found)
    if not isinstance(reports, list) or not reports or not all(map(_is_report, reports)):
        raise UserError(f"{path}: not what parity check --json writes: expected a list of reports ({SCHEMA})")
    layers = about.get("layers") or {}
    if not isinstance(layers, dict) or not all(map(_is_network, layers.values())):
        raise UserError(f"{path}: 'layers' is not what parity report writes: layers with forward and backward errors")
    of = about.get("source") or source(path, about)
    expected = about.get("networks") or []  # of all networks, those that were to be measured
    return {"source": {**of, "file": shown(path)}, "reports": reports, "layers": layers, "networks": expected}


def _is_report(one: Any) -> bool:
    """Tell whether this is a report of one pair, with checks that have an error and a bound."""
    if not isinstance(one, Mapping) or one.get("schema") != SCHEMA:
        return False
    checks, named = one.get("checks"), isinstance(one.get("name"), str) and isinstance(one.get("verdict"), str)
    return named and isinstance(checks, list) and all(map(_is_check, checks))


def _is_check(one: Any) -> bool:
    if not isinstance(one, Mapping) or not all(isinstance(one.get(name), kind) for name, kind in CHECK_FIELDS.items()):
        return False
    steps = one.get("steps")
    if not steps:
        return True
    return isinstance(steps, Mapping) and len({len(steps.get(name, ())) for name in STEPS}) == 1


def _is_network(one: Any) -> bool:
    """Tell whether this is what `NetworkErrors.to_json` returns."""
    try:
        figures = [layer[way] for layer in one["layers"] for way in WAYS if layer["layer"] and layer[way] is not None]
        return bool(one["input_shape"] and one["examples"]) and all(
            isinstance(float(figure["error"]), float) and figure["bound"] >= 0 and isinstance(figure["what"], str)
            for figure in figures
        )
    except (KeyError, TypeError, ValueError):
        return False


def failed(report: Mapping[str, Any]) -> set[str]:
    """Return the names of the checks of a report that fail."""
    return {failure["check"] for failure in report.get("failures", ())}


def share(check: Mapping[str, Any]) -> float | None:
    """Return a check's error relative to its bound; None if it is infinite: not finite, or above an exact bound."""
    error, bound = check["error"], check["bound"]
    if error == 0:
        return 0.0
    return error / bound if error is not None and bound > 0 else None


def trajectories(report: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the checks of a report that have figures of every step."""
    yield from (check for check in report["checks"] if check.get("steps"))


def columns(reports: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names of all checks in the order of the first report that has them, the trajectories last."""
    names = dict.fromkeys(check["check"] for report in reports for check in report["checks"])
    return sorted(names, key=lambda name: name.startswith("trajectory"))
