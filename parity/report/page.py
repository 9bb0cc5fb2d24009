"""A report as one page of HTML: what was compared, and both sources with the lines at which they part."""

import html
from pathlib import Path

from parity.report import Failure, Report
from parity.trace.lines import Line

AT = ' class="at"'
AROUND = 12  # lines of the source that are shown above and below
STYLE = """
:root { color-scheme: light dark; --line: #8884; --mark: #d9770633; --bad: #c2410c; --good: #0f766e }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 90rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse }
td, th { padding: .2rem .8rem .2rem 0; text-align: left; border-bottom: 1px solid var(--line) }
.sides { display: grid; grid-template-columns: repeat(auto-fit, minmax(22rem, 1fr)); gap: 1rem }
pre { overflow-x: auto; border: 1px solid var(--line); border-radius: .4rem; padding: .5rem 0 }
pre { font-size: 13px; line-height: 1.45 }
pre span { display: block; padding: 0 .8rem } pre .at { background: var(--mark); font-weight: 600 }
.bad { color: var(--bad) } .good { color: var(--good) } h2 { margin-top: 2rem }
"""


def page(report: Report) -> str:
    """Return the page; it needs no network and no other file."""
    verdict = '<span class="good">the same</span>' if report.ok else '<span class="bad">different</span>'
    rows = "".join(
        f"<tr><td>{html.escape(r.check)}</td><td>{r.error:.1e}</td><td>{r.bound:.0e}</td>"
        f'<td class="{"bad" if r.failure else "good"}">{"FAIL" if r.failure else "ok"}</td>'
        f"<td>{html.escape(' '.join(filter(None, [r.where, r.note])))}</td></tr>"
        for r in report.results
    )
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in report.notes)
    failures = "".join(_failure(number, failure) for number, failure in enumerate(report.failures, 1))
    title = html.escape(report.name)
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style>'
        f"<h1>{title}: {verdict}</h1><table><tr><th>check<th>worst<th>bound<th><th>where</tr>{rows}</table>"
        f"<ul>{notes}</ul>{failures}</html>\n"
    )


def _failure(number: int, failure: Failure) -> str:
    sides = "".join(
        f"<div><h3>{side}</h3>{_source(line)}</div>"
        for side, line in (("PyTorch", failure.torch_line), ("JAX", failure.jax_line))
        if line is not None
    )
    words = html.escape(f"{failure.check} at {failure.layer}: {failure.diagnosis}")
    return f'<h2>{number}. difference</h2><p>{words}</p><div class="sides">{sides}</div>'


def _source(line: Line) -> str:
    try:
        text = Path(line.file).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        text = []
    first = max(0, line.number - 1 - AROUND)
    shown = "".join(
        f"<span{AT if n == line.number else ''}>{n:4}  {html.escape(row)}</span>"
        for n, row in enumerate(text[first : line.number + AROUND], first + 1)
    )
    return f"<p>{html.escape(f'{Path(line.file).name}:{line.number}')}</p><pre>{shown}</pre>"
