"""The report as one page of HTML. It embeds the figures that it shows, as JSON."""

import html
import json
from collections.abc import Iterator
from typing import Any

from parity.overview.command import MARK
from parity.overview.matrix import matrix
from parity.overview.networks import networks
from parity.overview.sections import from_words, planted, throughput, trainings, versions_words
from parity.overview.sources import Figures
from parity.overview.style import SCRIPT, STYLE
from parity.pages import page as pages
from parity.pages import table

SECTIONS = {
    "checks": "Networks and checks",
    "networks": "Each network",
    "planted": "Planted bugs",
    "trainings": "Training curves",
    "throughput": "Throughput",
    "sources": "Sources",
}


def page(figures: Figures) -> str:
    """Return the page; it needs no network and no other file."""
    bodies = dict(_sections(figures))
    links = "".join(f'<a href="#{name}">{SECTIONS[name]}</a>' for name in bodies)
    body = f"<header>{MARK.decode()}<h1>Parity report</h1><p>{_summary(figures)}</p>"
    body += f'<nav class="screen" aria-label="sections">{links}</nav></header><main>'
    body += "".join(
        f'<section id="{name}"><h2>{SECTIONS[name]}</h2>{content}</section>' for name, content in bodies.items()
    )
    body += f'</main><script type="application/json" id="figures">{embedded(figures)}</script>'
    style, script = table.STYLE + STYLE, table.SCRIPT + SCRIPT
    return pages.page("Parity report", body, style=style, script=script)


def embedded(figures: Figures) -> str:
    """Return figures as JSON that no text in them can end early."""
    return json.dumps(figures, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _sections(figures: Figures) -> Iterator[tuple[str, str]]:
    """Yield the name and the HTML of each section; of one without figures, what is missing."""
    lacks = figures["missing"]

    def missing(*starts: str) -> str:
        return "".join(
            f'<p class="missing">Missing: {html.escape(line)}.</p>' for line in lacks if line.startswith(starts)
        )

    if checks := figures["checks"]:
        origin = f"<p>{from_words(checks['source'])}</p>"
        yield "checks", missing("networks") + origin + matrix(checks["reports"])
        absent = missing("layers", "trajectories")
        yield "networks", absent + networks(checks["reports"], checks["layers"])
    else:
        yield "checks", missing("checks")
    yield "planted", missing("planted") + planted(figures["planted"])
    curves = figures["trainings"]
    content = f"<p>{from_words(curves['source'])}</p>{trainings(curves)}" if curves else ""
    yield "trainings", missing("training curves") + content
    yield "throughput", missing("throughput") + throughput(figures["throughput"])
    yield "sources", _sources(figures)


def _summary(figures: Figures) -> str:
    """Return the first line: how many networks, how many checks, and when."""
    parts = []
    if checks := figures["checks"]:
        reports = checks["reports"]
        failed = sum(len(report.get("failures", ())) for report in reports)
        held = sum(len(report["checks"]) for report in reports) - failed
        networks = f"{len(reports)} network{'' if len(reports) == 1 else 's'}"
        kind = "bad" if failed or any(report["verdict"] != "same" for report in reports) else "good"
        parts.append(f'<b class="{kind}">{networks}: {held} checks hold, {failed} fail.</b>')
    made = figures["made"]
    parts.append(f"Made on {html.escape(made['date'])}.")
    return " ".join(parts)


def _sources(figures: Figures) -> str:
    """Return what the page was made from, by what, and what is missing."""
    made = figures["made"]
    found: list[Any] = [one["source"] for one in (figures["checks"], figures["trainings"]) if one]
    found += [one["source"] for one in (*figures["planted"], *figures["throughput"])]
    rows = "".join(f"<li>{from_words(one)}</li>" for one in found)
    lacks = "".join(f"<li>{html.escape(line)}</li>" for line in figures["missing"]) or "<li>nothing</li>"
    return (
        f"<p>This page was made on {html.escape(made['date'])} by <code>{html.escape(made['command'])}</code>, "
        f"{html.escape(made['machine'])}, {html.escape(versions_words(made['versions']))}. Its figures are "
        f"embedded in it as JSON, and stand in <code>report.json</code> beside it.</p>"
        f"<h3>Made from</h3><ul>{rows}</ul><h3>Missing</h3><ul>{lacks}</ul>"
    )
