"""The traps of docs/traps.md: what a comment that names one is linked to."""

import html
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

from parity.pages.page import page

PAGE = Path(__file__).resolve().parents[2] / "docs" / "traps.md"
# "trap 6", "(traps 2 and 6)", "traps 1, 2 and 3": the numbers are linked.
NAMED = re.compile(r"\btraps? (\d+(?:(?:, | and )\d+)*)", re.IGNORECASE)
STYLE = """
.trap { border: 1px solid var(--line); border-left: 4px solid var(--edge); border-radius: .3rem; padding: .3rem .8rem;
  margin: .6rem 0; break-inside: avoid } .trap h3 { margin: .1rem 0 } .trap dl { display: grid; margin: .2rem 0;
  grid-template-columns: 5rem 1fr; gap: .1rem .6rem } .trap dt { color: var(--dim) } .trap dd { margin: 0 }
.trap:target { background: var(--soft) }
"""


class Trap(NamedTuple):
    """A row of the page; its texts are Markdown."""

    number: int
    torch: str
    jax: str
    handled: str


@cache
def traps() -> dict[int, Trap]:
    """Return the traps by number; none where the project is installed without its documentation."""
    rows = re.findall(r"^\| (\d+) \| (.*?) \| (.*?) \| (.*?) \|$", _text(), re.MULTILINE)
    return {int(number): Trap(int(number), *texts) for number, *texts in rows}


def named_in(line: str) -> list[tuple[int, int, int]]:
    """Return (start, end, number) of the known traps that a line names; the first one's part has the word "trap"."""
    found = []
    for match in NAMED.finditer(line):
        for at, number in enumerate(re.finditer(r"\d+", match[1])):
            start, end = match.start(1) + number.start(), match.start(1) + number.end()
            found.append((start if at else match.start(), end, int(number[0])))
    return [(start, end, number) for start, end, number in found if number in traps()]


def as_html(trap: Trap) -> str:
    """Return a trap as a box that can be linked to."""
    return (
        f'<article class="trap" id="trap-{trap.number}"><h3>Trap {trap.number}</h3><dl><dt>PyTorch</dt>'
        f"<dd>{inline(trap.torch)}</dd><dt>Flax</dt><dd>{inline(trap.jax)}</dd><dt>handled in</dt>"
        f"<dd>{inline(trap.handled)}</dd></dl></article>"
    )


def traps_page() -> str:
    """Return the page of all traps, and of those without a number."""
    rest = _text().partition("\n## ")[2].partition("\n")[2]
    others = "".join(f"<li>{inline(' '.join(part.split()))}</li>" for part in re.split(r"(?m)^- ", rest)[1:])
    body = (
        '<nav><a href="index.html">all pairs</a></nav><h1>Traps between PyTorch and JAX</h1>'
        '<p>"Trap N" in a comment of the sources refers to number N. A missing number has no place in the code.</p>'
        f"<main>{''.join(map(as_html, traps().values()))}"
        f"{f'<h2>Without a number</h2><ul>{others}</ul>' if others else ''}</main>"
    )
    return page("Traps between PyTorch and JAX", body, style=STYLE)


def inline(text: str) -> str:
    """Return a line of Markdown as HTML: code, bold, and of a link its text."""
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", html.escape(text, quote=False))
    text = re.sub(r"`([^`]*)`", r"<code>\1</code>", text)
    return re.sub(r"\*\*([^*]*)\*\*", r"<b>\1</b>", text)


def _text() -> str:
    return PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
