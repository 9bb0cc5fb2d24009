"""Both files of a pair in two columns, row by row, with what is known of each line's layers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from parity.checks.layer_errors import Figure, NetworkErrors, worst
from parity.pages.bar import bar
from parity.report.source import token_spans
from parity.twins.align import APART, PAIR, SAME, Row, align, differing_words, groups
from parity.twins.layers import Layer
from parity.twins.lines import code
from parity.twins.pairs import FOLDERS, Twin

SIDES = ("jax", "torch")
TITLES = {"jax": "Flax", "torch": "PyTorch"}


class Facts(NamedTuple):
    """What is known of a network's layers on both sides, by path."""

    jax: Mapping[str, Layer]
    torch: Mapping[str, Layer]
    errors: NetworkErrors | None  # None: not measured


class Content(NamedTuple):
    """A pair's lines, their rows, and what stands beside them."""

    lines: dict[str, list[str]]
    rows: list[Row]
    facts: Facts | None  # None: the pair is no network

    @property
    def equal(self) -> int:
        """Return how many lines with text are equal."""
        return sum(row.kind == SAME and bool(self.lines["jax"][row.jax or 0].strip()) for row in self.rows)


def read(twin: Twin, facts: Facts | None) -> Content:
    """Return what the page of a pair shows."""
    lines = {side: getattr(twin, side).read_text(encoding="utf-8").splitlines() for side in SIDES}
    return Content(lines, align(lines["jax"], lines["torch"]), facts)


def shown_layers(facts: Facts) -> list[str]:
    """Return the layers to show: those of both sides, and of one side those with tensors of their own."""
    names = list(dict.fromkeys([*facts.jax, *facts.torch]))

    def has_parts(name: str) -> bool:
        return any(other.startswith((f"{name}/", f"{name}_")) for other in names)

    def belongs(name: str) -> bool:
        if name in facts.jax and name in facts.torch:
            return True
        layer = facts.jax.get(name) or facts.torch[name]
        return layer.parameters > 0 and not has_parts(name)

    return [name for name in names if belongs(name)]


def columns(twin: Twin, content: Content) -> str:
    """Return the table of the sources; a difference is a part of its own, which can have the focus."""
    writer = _Writer(content)
    parts, number = [], 0
    for differs, rows in groups(content.rows, content.lines["jax"], content.lines["torch"]):
        number += differs
        mark = f' class="diff" id="d{number}" tabindex="-1"' if differs else ""
        parts.append(f"<tbody{mark}>{''.join(map(writer.row, rows))}</tbody>\n")
    heads = [
        f'<th scope="col" colspan="2" class="{side}">{TITLES[side]} <code>{short_path(getattr(twin, side))}</code>'
        "</th>"
        for side in SIDES
    ]
    if writer.errors:
        heads.insert(1, '<th class="mid" scope="col">error</th>')
    widths = '<col class="no"><col>'
    between = '<col class="mid">' if writer.errors else ""
    cols = f"<colgroup>{widths}{between}{widths}</colgroup>"
    return f'<table class="twins">{cols}<thead><tr>{"".join(heads)}</tr></thead>\n{"".join(parts)}</table>'


class _Writer:
    """Writes the rows of a pair."""

    def __init__(self, content: Content):
        self.lines, facts = content.lines, content.facts
        self.kinds = {side: token_spans("\n".join(self.lines[side])) for side in SIDES}
        self.layers: dict[str, Mapping[str, Layer]] = {side: getattr(facts, side) if facts else {} for side in SIDES}
        names = shown_layers(facts) if facts else []
        self.made = {side: _by_line(self.layers[side], names) for side in SIDES}
        self.errors = {row.layer: row for row in facts.errors.layers} if facts and facts.errors else {}

    def row(self, row: Row) -> str:
        """Return a row: number and line of Flax's, the errors, number and line of PyTorch's."""
        differing: dict[str, list[tuple[int, int]]] = {side: [] for side in SIDES}
        if row.kind == PAIR and row.jax is not None and row.torch is not None:
            both = differing_words(self.lines["jax"][row.jax], self.lines["torch"][row.torch])
            differing = dict(zip(SIDES, both, strict=True))
        cells = [
            self._cell(side, at, differing[side], alone=row.kind == APART)
            for side, at in zip(SIDES, (row.jax, row.torch), strict=True)
        ]
        if self.errors:
            cells.insert(1, f'<td class="mid">{self._bars(row)}</td>')
        return f'<tr class="{row.kind}">{"".join(cells)}</tr>\n'

    def _cell(self, side: str, at: int | None, differing: list[tuple[int, int]], *, alone: bool) -> str:
        if at is None:
            return '<td class="no"></td><td class="code none"></td>'
        line, number = self.lines[side][at], at + 1
        made = self.made[side].get(number)
        note = _note(self.layers[side], made) if made else ""
        mark = "" if line.strip() else " blank"
        mark = " alone" if alone and not mark else mark
        indent = len(line) - len(line.lstrip())
        return (
            f'<td class="no" id="{side}-{number}">{number}</td><td class="code {side}{mark}">'
            f'<div class="l" style="--i:{indent}">{code(line, self.kinds[side][at], differing)}</div>{note}</td>'
        )

    def _bars(self, row: Row) -> str:
        """Return the worst errors of the layers that a row makes, forward and backward."""
        made = [
            self.made[side].get(at + 1, []) for side, at in (("jax", row.jax), ("torch", row.torch)) if at is not None
        ]
        found = [self.errors[name] for name in (made[0] if made else []) if name in self.errors]
        parts = []
        for letter, what in (("f", "forward"), ("b", "backward")):
            figures = [figure for layer in found if (figure := getattr(layer, what)) is not None]
            if figures:
                parts.append(f'<div><span class="dim">{letter}</span> {figure_bar(what, worst(figures))}</div>')
        return "".join(parts)


def _by_line(layers: Mapping[str, Layer], names: Sequence[str]) -> dict[int, list[str]]:
    """Return the layers that each line makes."""
    found: dict[int, list[str]] = {}
    for name in names:
        if name in layers and layers[name].line:
            found.setdefault(layers[name].line, []).append(name)
    return found


def _note(layers: Mapping[str, Layer], names: Sequence[str]) -> str:
    """Return what stands under a line that makes layers."""
    shapes = list(dict.fromkeys(layers[name].shape for name in names))
    words = " … ".join(shape_words(shape) for shape in dict.fromkeys((shapes[0], shapes[-1])))
    count = sum(layers[name].parameters for name in names)
    kept = f" · {count:,} parameter{'' if count == 1 else 's'}" if count else ""
    many = f'<a href="#{anchor(names[0])}">{len(names)} layers</a> ' if len(names) > 1 else ""
    return f'<div class="layer">{many}→ {words}{kept}</div>'


def figure_bar(what: str, figure: Figure) -> str:
    """Return an error of a layer as a bar."""
    return bar(figure.error, figure.bound, f"{what}: {figure.what}")


def short_path(file: Path) -> str:
    """Return a file's path from its package on."""
    return str(next(file.relative_to(folder.parent) for folder in FOLDERS.values() if folder in file.parents))


def anchor(layer: str) -> str:
    """Return the id of a layer's row."""
    return f"layer-{layer.replace('/', '-')}"


def shape_words(shape: Sequence[int]) -> str:
    """Return a shape of a batch of N."""
    return f"({', '.join(['N', *map(str, shape)])})"


def channels_first(shape: Sequence[int]) -> tuple[int, ...]:
    """Move (..., C) to (C, ...)."""
    return (shape[-1], *shape[:-1])
