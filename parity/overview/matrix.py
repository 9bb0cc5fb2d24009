"""The table of networks and checks: the worst error of each, against its bound."""

import html
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from parity.overview.checks import columns, failed, share

NEAR = ((0.1, "near"), (0.001, "half"))  # a share of the bound from which a cell has a colour of its own
VERDICTS = {
    "same": "✓ same",
    "different": "✗ different",
    "compiler": "✗ compiler",
    "unchecked": "? unchecked",
}
LEGEND = (
    ("far", "below 0.1% of its bound"),
    ("half", "0.1% to 10%"),
    ("near", "10% to all of it"),
    ("over", "✗ above the bound"),
)


def matrix(reports: Sequence[Mapping[str, Any]]) -> str:
    """Return the table with its filters."""
    checks = columns(reports)
    heads = [_head("network"), _head("verdict"), _head("worst", "worst error of a check, relative to its bound")]
    heads += [_head(check) for check in checks]
    rows = "\n".join(_row(report, checks) for report in reports)
    legend = "".join(f'<li><span class="swatch {kind}"></span> {words}</li>' for kind, words in LEGEND)
    return (
        f"{_filters(reports, checks)}"
        '<div class="scroll matrix" tabindex="0" role="region" aria-label="networks and checks">'
        f'<table class="data" id="matrix"><thead><tr>{"".join(heads)}</tr></thead><tbody>{rows}</tbody></table></div>'
        f'<ul class="legend">{legend}</ul>'
    )


def anchor(name: str) -> str:
    """Return where on the page a network is."""
    return "network-" + re.sub(r"\W+", "-", name).strip("-")


def _filters(reports: Sequence[Mapping[str, Any]], checks: Sequence[str]) -> str:
    verdicts = dict.fromkeys(report["verdict"] for report in reports)
    options = [
        _select("only-check", "Check", {"": "all", **{check: check for check in checks}}),
        _select("only-verdict", "Verdict", {"": "all", **{one: one for one in verdicts}}),
        _select(
            "only-share", "Error at least", {"0": "0", "0.001": "0.1% of its bound", "0.1": "10%", "1": "all of it"}
        ),
    ]
    field = '<input type="search" id="only-network" autocomplete="off">'
    name = f'<span><label for="only-network">Network</label> {field}</span>'
    return f'<div class="choose screen">{name}{"".join(options)}<output class="dim" id="count"></output></div>'


def _select(name: str, label: str, options: Mapping[str, str]) -> str:
    rows = "".join(
        f'<option value="{html.escape(value)}">{html.escape(words)}</option>' for value, words in options.items()
    )
    return f'<span><label for="{name}">{label}</label> <select id="{name}">{rows}</select></span>'


def _head(title: str, hint: str = "") -> str:
    hint = f' title="{hint}"' if hint else ""
    return f'<th scope="col"{hint}><button type="button">{html.escape(title)}</button></th>'


def _row(report: Mapping[str, Any], checks: Sequence[str]) -> str:
    name, wrong = html.escape(report["name"], quote=True), failed(report)
    by_check = {check["check"]: check for check in report["checks"]}
    cells = "".join(_cell(by_check.get(check), check in wrong) for check in checks)
    shares = [share(check) for check in report["checks"] if check["check"] not in wrong]
    worst = math.inf if wrong else max((math.inf if one is None else one for one in shares), default=math.inf)
    words = "above" if worst == math.inf else percent(worst)
    kind = "good" if report["verdict"] == "same" else "bad"
    return (
        f'<tr data-network="{name}" data-verdict="{report["verdict"]}">'
        f'<th scope="row"><a href="#{anchor(report["name"])}">{name}</a></th>'
        f'<td class="{kind}">{VERDICTS.get(report["verdict"], html.escape(report["verdict"]))}</td>'
        f'<td class="num" data-sort="{_sortable(worst)}">{words}</td>{cells}</tr>'
    )


def _cell(check: Mapping[str, Any] | None, wrong: bool) -> str:
    """Return a cell: the error, and below it its bound with a mark."""
    if check is None:
        return '<td class="none" data-sort="" title="not run">-</td>'
    error, part = check["error"], share(check)
    kind = shade(part, wrong)
    where = html.escape(where_words(check), quote=True)
    return (
        f'<td class="{kind}" data-check="{html.escape(check["check"], quote=True)}" title="{where}"'
        f' data-sort="{_sortable(error)}" data-share="{"Infinity" if wrong or part is None else repr(part)}">'
        f"<b>{error_words(error)}</b><small>{'✗' if wrong else '✓'} {bound_words(check['bound'])}</small></td>"
    )


def shade(part: float | None, wrong: bool) -> str:
    """Return the kind of a cell, by its error's share of the bound."""
    if wrong or part is None:
        return "over"
    return next((kind for least, kind in NEAR if part >= least), "far")


def _sortable(value: float | None) -> str:
    return repr(value) if value is not None and math.isfinite(value) else "Infinity"


def where_words(check: Mapping[str, Any]) -> str:
    """Return the tensor of a check's error, and what else the report says of it."""
    where, note = check.get("where") or "", check.get("note") or ""
    return f"{where} ({note})" if where and note else where or note


def error_words(error: float | None) -> str:
    """Return an error in few characters, as the command's own table does."""
    return "inf" if error is None else "0" if error == 0 else f"{error:.1e}"


def bound_words(bound: float) -> str:
    """Return a bound in few characters."""
    return "exact" if bound == 0 else f"{bound:.0e}"


def percent(part: float) -> str:
    """Return a share in percent, with two digits."""
    return f"{100 * part:.2g}%"
