"""A report as one page of HTML: what was compared, and both sources, the lines marked at which they part."""

import html
from collections.abc import Iterable
from pathlib import Path

from parity.pages.style import PALETTE, PAPER
from parity.report.advice import advice
from parity.report.report import Failure, Report
from parity.report.source import highlighted
from parity.trace.lines import Line

AT = ' class="at"'
STYLE = (
    PALETTE
    + """
* { box-sizing: border-box }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--page); margin: 0 auto;
  max-width: 110rem; padding: 1rem 1.5rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.15rem; margin: 2rem 0 .3rem } h3 { font-size: 1rem; margin: .8rem 0 .3rem }
table { border-collapse: collapse; margin: .5rem 0 }
td, th { padding: .2rem 1rem .2rem 0; text-align: left; border-bottom: 1px solid var(--line) }
.sides { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(34rem, 100%), 1fr)); gap: 1rem }
pre { font: 13px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; margin: 0; background: var(--code);
  border: 1px solid var(--line); border-radius: .4rem; padding: .5rem 0; max-height: 65vh; overflow: auto }
pre > span { display: block; padding: 0 .8rem; min-width: max-content; border-left: 4px solid transparent }
pre > span::before { content: attr(data-n); display: inline-block; width: 2.6em; margin-right: 1em; color: var(--dim);
  text-align: right; user-select: none }
pre > .at { background: var(--mark); border-left-color: var(--edge); font-weight: 600 }
.bad { color: var(--bad) } .good { color: var(--good) } .dim { color: var(--dim) }
.k { color: var(--word) } .s { color: var(--str) } .n { color: var(--num) } .c { color: var(--dim) }
.scroll { overflow-x: auto } p, li, h1, h2, h3 { overflow-wrap: anywhere }
@media (max-width: 640px) { body { padding: .6rem .7rem } }
@media print { pre { max-height: none; overflow: visible; white-space: pre-wrap } pre > span { min-width: 0 } }
"""
    + PAPER
)
# Each pane shows its marked line in the middle, and the page begins at the first difference.
SCRIPT = """
for (const at of document.querySelectorAll("pre > .at")) {
  const pane = at.parentElement;
  pane.scrollTop = at.offsetTop - pane.offsetTop - (pane.clientHeight - at.offsetHeight) / 2;
}
document.getElementById("first")?.scrollIntoView();
"""
WORDS = {
    "same": ("good", "the same"),
    "different": ("bad", "different"),
    "compiler": ("bad", "the same, but the compiler computes something else"),
}


def page(report: Report) -> str:
    """Return the page; it needs no network and no other file."""
    kind, words = WORDS[report.verdict]
    rows = "".join(
        f"<tr><td>{html.escape(r.check)}</td><td>{r.figures[0]}</td><td>{r.figures[1]}"
        f'</td><td class="{"bad" if r.failure else "good" if r.made else ""}">{r.figures[2]}</td>'
        f"<td>{html.escape(' '.join(filter(None, [r.where, r.note])))}</td></tr>"
        for r in report.results
    )
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in report.notes)
    title = html.escape(report.name)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}: {report.verdict}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style></head><body>'
        f'<h1>{title}: <span class="{kind}">{words}</span></h1>'
        '<div class="scroll"><table>'
        f"<tr><th>check</th><th>worst</th><th>bound</th><th></th><th>where</th></tr>{rows}</table></div>"
        f"{f'<ul>{notes}</ul>' if notes else ''}{''.join(_failures(report))}<script>{SCRIPT}</script></body></html>\n"
    )


def _failures(report: Report) -> Iterable[str]:
    """Yield a section for each difference; the first is where the page begins, sources are shown once."""
    first = report.first
    ordered = ([first] if first else []) + [f for f in report.failures if f is not first]
    shown: set[tuple[Line | None, Line | None]] = {(None, None)}
    for number, failure in enumerate(ordered, 1):
        lines = (failure.torch_line, failure.jax_line)
        yield _failure(number, failure, with_sources=lines not in shown)
        shown.add(lines)


def _failure(number: int, failure: Failure, *, with_sources: bool) -> str:
    heading = f"{number}. {failure.check} fails at {failure.layer}"
    words = f"<p>{html.escape(failure.diagnosis)}</p>"
    if todo := advice(failure):
        words += f'<p><span class="dim">What to try:</span> {html.escape(todo)}</p>'
    if failure.values:
        ours, theirs = (html.escape(f"{value:.9g}") for value in failure.values[1:])
        words += (
            f'<div class="scroll"><table><tr><th>at {list(failure.values.at)}</th><th>PyTorch</th><th>JAX</th></tr>'
            f"<tr><td></td><td>{ours}</td><td>{theirs}</td></tr></table></div>"
        )
    sides = "".join(
        f"<section><h3>{side}: {html.escape(line.place)}</h3>{_source(line)}</section>"
        for side, line in (("PyTorch", failure.torch_line), ("JAX", failure.jax_line))
        if line is not None and with_sources
    )
    first = ' id="first"' if number == 1 else ""
    return f'<h2{first}>{html.escape(heading)}</h2>{words}<div class="sides">{sides}</div>'


def _source(line: Line) -> str:
    """Return a whole file with one line marked; it can be scrolled."""
    try:
        if line.written:  # a record says what the line is; a file of that name may be another one here
            raise FileNotFoundError(line.file)
        text = Path(line.file).read_text(encoding="utf-8", errors="replace")
    except OSError:
        row = highlighted(line.text) or [""]
        return f'<pre><span data-n="{line.number}" class="at">{row[0]}</span></pre>'
    rows = "".join(
        f'<span data-n="{n}"{AT if n == line.number else ""}>{row or " "}</span>'
        for n, row in enumerate(highlighted(text), 1)
    )
    return f'<pre tabindex="0">{rows}</pre>'
