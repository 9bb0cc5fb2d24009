"""The page of a pair: both files in two columns, row by row."""

import html
from collections.abc import Iterable, Mapping, Sequence

from parity.checks.layer_errors import LayerErrors
from parity.pages import bar, table
from parity.pages.page import page
from parity.twins import traps
from parity.twins.columns import (
    SIDES,
    Content,
    Facts,
    anchor,
    channels_first,
    columns,
    figure_bar,
    shape_words,
    shown_layers,
)
from parity.twins.looks import SCRIPT, STYLE
from parity.twins.pairs import Twin


def twin_page(twin: Twin, content: Content, others: Sequence[Twin]) -> str:
    """Return the page of a pair; `others` are the pages beside it, in their order."""
    named = sorted({n for side in SIDES for line in content.lines[side] for _, _, n in traps.named_in(line)})
    noted = "".join(traps.as_html(traps.traps()[number]) for number in named)
    traps_part = (
        f'<section><h2 id="traps">Traps in these files</h2>{noted}<p class="screen"><a href="traps.html">All traps'
        "</a></p></section>"
    )
    layers = f"<section>{_layers(content.facts)}</section>" if content.facts else ""
    body = (
        f"{_header(twin, content, others)}<main>{_legend(content)}{columns(twin, content)}{layers}"
        f"{traps_part if named else ''}</main>"
    )
    style = bar.STYLE + table.STYLE + traps.STYLE + STYLE
    return page(f"{twin.name}: Flax and PyTorch side by side", body, style=style, script=SCRIPT + table.SCRIPT)


def _header(twin: Twin, content: Content, others: Sequence[Twin]) -> str:
    names = [other.name for other in others]
    at = names.index(twin.name)
    before, after = others[at - 1] if at else None, others[at + 1] if at + 1 < len(others) else None
    links = "".join(
        f'<a href="{other.page}" rel="{rel}">{words}</a>'
        for other, rel, words in (
            (before, "prev", f"← {before.name}" if before else ""),
            (after, "next", f"{after.name} →" if after else ""),
        )
        if other
    )
    siblings = [other for other in others if other.jax == twin.jax and other is not twin]
    same = " ".join(f'<a href="{other.page}">{other.name}</a>' for other in siblings)
    return (
        f'<header><nav class="screen"><a href="index.html">all pairs</a><a href="traps.html">traps</a>{links}</nav>'
        f"<h1>{html.escape(twin.name)}</h1><p>{traps.inline(twin.subject)}</p>"
        f'<ul class="facts">{"".join(f"<li>{fact}</li>" for fact in _facts(twin, content))}</ul>'
        f"{f'<p class=screen>In the same files: {same}</p>' if same else ''}</header>"
    )


def _facts(twin: Twin, content: Content) -> Iterable[str]:
    """Yield what the head of the page says, as HTML."""
    if twin.entry:
        entry = twin.entry
        frozen = f" and {entry.num_frozen:,} frozen" if entry.num_frozen else ""
        yield f"<b>{entry.num_params:,}</b> parameters{frozen}"
        shapes = entry.input_shape, channels_first(entry.input_shape)
        yield "input {} in Flax, {} in PyTorch".format(*map(shape_words, shapes))
    count = {side: len(content.lines[side]) for side in SIDES}
    yield f"{count['jax']} and {count['torch']} lines, {content.equal} of them equal"
    if content.facts and content.facts.errors:
        errors = content.facts.errors
        for what, figure in (("forward", errors.worst_forward), ("backward", errors.worst_backward)):
            yield f"worst {what} {figure_bar(what, figure)}"


def _legend(content: Content) -> str:
    keys = (
        '<p class="screen dim"><kbd>j</kbd> next difference, <kbd>k</kbd> previous difference. Equal lines are grey; '
        "in a pair of lines the differing words are <mark>marked</mark>; a tinted line has no counterpart.</p>"
    )
    if not content.facts:
        return keys
    shapes = (
        "Below the line that creates a layer: the shape of its output for a batch of N, and its number of parameters, "
        "those of its parts included."
    )
    errors = content.facts.errors
    if errors is None:
        return f'{keys}<p class="dim">{shapes}</p>'
    return (
        f'{keys}<p class="dim">{shapes} Bars: the relative error of Flax against PyTorch in float64, weights copied, '
        "on a log scale from 1e-17 to 1; the tick is the bound. <b>f</b>, forward: the layer's output in both modes. "
        "<b>b</b>, backward: the gradients at its output and of its parameters. Measured on "
        f"{errors.examples} examples of {'x'.join(map(str, errors.input_shape))}; large networks have fewer channels "
        "and layers there, as in <code>parity check</code>.</p>"
    )


def _layers(facts: Facts) -> str:
    """Return the table of all layers, and of the whole output."""
    errors = {row.layer: row for row in facts.errors.layers} if facts.errors else {}
    ends = [name for name in ("input", "output") if name in errors]
    titles = ["layer", "Flax", "output", "PyTorch", "output"]
    heads = [*map(table.Column, titles), table.Column("parameters", numeric=True)]
    if errors:
        heads += [table.Column("forward"), table.Column("backward")]
    rows = [_layer_row(name, facts, errors) for name in [*shown_layers(facts), *ends]]
    return f'<h2 id="layers">All layers</h2>{table.table("all-layers", heads, rows)}'


def _layer_row(name: str, facts: Facts, errors: Mapping[str, LayerErrors]) -> list[table.Cell | str | int]:
    sides = {"jax": facts.jax.get(name), "torch": facts.torch.get(name)}
    row: list[table.Cell | str | int] = [table.Cell(f'<code id="{anchor(name)}">{html.escape(name)}</code>', name)]
    for side, layer in sides.items():
        kind = html.escape(layer.kind) if layer else ""
        link = f'<a href="#{side}-{layer.line}">{kind}</a>' if layer and layer.line else kind
        shape = shape_words(layer.shape) if layer else ""
        row += [table.Cell(link, kind), table.Cell(f'<span class="mono">{shape}</span>', shape)]
    counts = list(dict.fromkeys(layer.parameters for layer in sides.values() if layer))
    row.append(counts[0] if len(counts) == 1 else " and ".join(f"{count:,}" for count in counts))
    if errors:
        found = errors.get(name)
        for what in ("forward", "backward"):
            figure = getattr(found, what) if found else None
            row.append(table.Cell(figure_bar(what, figure), figure.error) if figure else "")
    return row
