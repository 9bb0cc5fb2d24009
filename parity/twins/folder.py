"""The folder of pages: a page for each pair, the index, the traps."""

import html
from collections.abc import Callable, Sequence
from pathlib import Path

from data import UserError
from experiment.runs import atomic
from jaxnets.environment import start_device
from parity.pages import bar, table
from parity.pages.page import page
from parity.twins.columns import Content, Facts, read
from parity.twins.layers import flax_layers, torch_layers
from parity.twins.measured import NAME, Measurements
from parity.twins.pairs import Twin, find
from parity.twins.traps import inline, traps_page
from parity.twins.view import twin_page

Pairs = Sequence[tuple[Twin, Content]]


def write(
    names: Sequence[str], out: Path, *, measure: bool, measurements: Path | None, say: Callable[[str], None]
) -> list[Path]:
    """Do as `parity.twins.write`."""
    twins = find(names)
    _make_folder(out)
    start_device()
    measured = Measurements(measurements or out / NAME) if measure else None
    contents: list[tuple[Twin, Content]] = []
    for twin in twins:
        facts = None
        if twin.entry:
            errors = measured.of(twin, say) if measured else None
            facts = Facts(flax_layers(twin), torch_layers(twin), errors)
        contents.append((twin, read(twin, facts)))
    pages = {twin.page: twin_page(twin, content, twins) for twin, content in contents}
    pages = {"index.html": _index(contents), "traps.html": traps_page(), **pages}
    for name, text in pages.items():
        atomic.write(out / name, text.encode())
    return [out / name for name in pages]


def _make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out}: cannot be made a folder of pages ({error.strerror}); name another one") from None


def _index(contents: Pairs) -> str:
    networks = [pair for pair in contents if pair[0].entry]
    files = [pair for pair in contents if not pair[0].entry]
    body = '<nav><a href="traps.html">traps</a></nav><h1>Flax and PyTorch side by side</h1><main>'
    if networks:
        measured = any(content.facts and content.facts.errors for _, content in networks)
        errors = " The errors are those of the worst layer, in float64, weights copied." if measured else ""
        body += f"<p>Every network is written twice, once in each framework.{errors}</p>{_networks(networks)}"
    if files:
        body += f"<h2>The step, the loop and what else both packages have</h2>{_files(files)}"
    return page("Flax and PyTorch side by side", f"{body}</main>", style=bar.STYLE + table.STYLE, script=table.SCRIPT)


def _networks(contents: Pairs) -> str:
    columns = [
        table.Column("network"),
        table.Column("source"),
        table.Column("input"),
        table.Column("parameters", numeric=True),
        table.Column("Flax lines", numeric=True),
        table.Column("PyTorch lines", numeric=True),
    ]
    measured = any(content.facts and content.facts.errors for _, content in contents)
    if measured:
        columns += [table.Column("worst forward error"), table.Column("worst backward error")]
    rows = []
    for twin, content in contents:
        assert twin.entry
        row: list[table.Cell | str | int] = [
            _link(twin),
            twin.entry.source,
            "x".join(map(str, twin.entry.input_shape)),
        ]
        row += [twin.entry.num_params + twin.entry.num_frozen, len(content.lines["jax"]), len(content.lines["torch"])]
        if content.facts and content.facts.errors:
            errors = content.facts.errors
            for figure in (errors.worst_forward, errors.worst_backward):
                row.append(table.Cell(bar.bar(figure.error, figure.bound, figure.what), figure.error))
        rows.append(row)
    return table.table("networks", columns, rows)


def _files(contents: Pairs) -> str:
    columns = [
        table.Column("file"),
        table.Column("what it is"),
        table.Column("Flax lines", numeric=True),
        table.Column("PyTorch lines", numeric=True),
        table.Column("equal lines", numeric=True),
    ]
    rows = [
        [
            _link(twin),
            table.Cell(inline(twin.subject), twin.subject),
            *(len(content.lines[side]) for side in ("jax", "torch")),
            content.equal,
        ]
        for twin, content in contents
    ]
    return table.table("files", columns, rows, searchable=len(rows) > 1)


def _link(twin: Twin) -> table.Cell:
    return table.Cell(f'<a href="{twin.page}">{html.escape(twin.name)}</a>', twin.name)
