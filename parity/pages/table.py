"""Tables that are sorted by their columns' titles and filtered by words; without scripts they are plain tables."""

import html
from collections.abc import Iterable, Sequence
from typing import NamedTuple

STYLE = """
table.data th { white-space: nowrap; position: sticky; top: 0; background: var(--page); z-index: 1 }
table.data th button { font: inherit; font-weight: 600; color: inherit; background: none; border: 0; padding: 0;
  cursor: pointer } table.data th button::after { content: " ↕"; color: var(--dim); font-weight: 400 }
table.data th[aria-sort=ascending] button::after { content: " ↑"; color: var(--text) }
table.data th[aria-sort=descending] button::after { content: " ↓"; color: var(--text) }
table.data tbody tr:hover { background: var(--code) }
.filter { display: flex; gap: .6rem; align-items: center; flex-wrap: wrap; margin: .5rem 0 }
.filter input { font: inherit; color: inherit; background: var(--page); border: 1px solid var(--dim);
  border-radius: .3rem; padding: .15rem .5rem; width: 16rem; max-width: 100% }
@media print { .filter { display: none } table.data th button::after { content: "" !important }
  table.data th { position: static } tr { break-inside: avoid } }
"""
# A cell is sorted by its data-sort, if it has one; numbers before text, and what is missing at the end either way.
SCRIPT = """
for (const table of document.querySelectorAll("table.data")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  const key = (row, at) => {
    const cell = row.cells[at], text = cell.dataset.sort ?? cell.textContent.trim();
    return text === "" ? null : isNaN(text) ? text.toLowerCase() : Number(text);
  };
  const order = (a, b) => typeof a === typeof b ? (a < b ? -1 : a > b ? 1 : 0) : typeof a === "number" ? -1 : 1;
  heads.forEach((head, at) => head.querySelector("button")?.addEventListener("click", () => {
    const now = head.getAttribute("aria-sort"), first = head.dataset.first === "-" ? -1 : 1;
    const up = now === "ascending" ? -1 : now === "descending" ? 1 : first;
    heads.forEach(other => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up > 0 ? "ascending" : "descending");
    const rows = [...body.rows].map(row => [key(row, at), row]);
    rows.sort(([a], [b]) => a === null || b === null ? (a === null) - (b === null) : up * order(a, b));
    body.append(...rows.map(([, row]) => row));
  }));
}
for (const box of document.querySelectorAll(".filter input")) {
  const table = document.getElementById(box.dataset.table), count = box.closest(".filter").querySelector("output");
  const filter = () => {
    const words = box.value.toLowerCase().split(/\\s+/), rows = [...table.tBodies[0].rows];
    for (const row of rows) row.hidden = !words.every(word => row.textContent.toLowerCase().includes(word));
    count.textContent = `${rows.filter(row => !row.hidden).length} of ${rows.length}`;
  };
  box.addEventListener("input", filter);
  box.addEventListener("keydown", event => { if (event.key === "Escape") { box.value = ""; filter(); } });
  filter();
}
"""


class Column(NamedTuple):
    """A column of a table."""

    title: str
    numeric: bool = False  # aligned to the right, and sorted from the largest on first
    hint: str = ""


class Cell(NamedTuple):
    """A cell whose HTML is not what it is sorted by."""

    html: str
    sort: float | str = ""


def table(
    name: str, columns: Sequence[Column], rows: Iterable[Sequence[Cell | str | int]], *, searchable: bool = True
) -> str:
    """Return a table, by default with a field to filter it by. The page needs STYLE and SCRIPT.

    Args:
        name: its id in the page.
        columns: the titles.
        rows: text is escaped, a `Cell` is HTML.
        searchable: whether there is a field to filter the rows by words.
    """
    heads = "".join(_head(column) for column in columns)
    body = "".join(f"<tr>{''.join(map(_cell, columns, row))}</tr>\n" for row in rows)
    box = (
        f'<div class="filter"><label>Filter <input type="search" data-table="{name}" autocomplete="off"></label>'
        '<output class="dim"></output></div>'
    )
    return (
        f"{box if searchable else ''}"
        f'<div class="scroll"><table class="data" id="{name}"><thead><tr>{heads}</tr></thead>'
        f"<tbody>\n{body}</tbody></table></div>"
    )


def _head(column: Column) -> str:
    marks = ' class="num" data-first="-"' if column.numeric else ""
    hint = f' title="{html.escape(column.hint)}"' if column.hint else ""
    return f'<th scope="col"{marks}{hint}><button type="button">{html.escape(column.title)}</button></th>'


def _cell(column: Column, cell: Cell | str | int) -> str:
    mark = ' class="num"' if column.numeric else ""
    if isinstance(cell, Cell):
        return f'<td{mark} data-sort="{html.escape(str(cell.sort))}">{cell.html}</td>'
    if isinstance(cell, int):
        return f'<td{mark} data-sort="{cell}">{cell:,}</td>'
    return f"<td{mark}>{html.escape(cell)}</td>"
