"""A line of a source as HTML: coloured, the differing words marked, the traps linked."""

import html
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from parity.twins.traps import named_in


class Span(NamedTuple):
    """A part of a line, from `start` to before `end`, and the tags around it."""

    start: int
    end: int
    opened: str
    closed: str


def code(line: str, kinds: Sequence[tuple[int, int, str]], differing: Iterable[tuple[int, int]] = ()) -> str:
    """Return the HTML of a line; its text is the line's, to the character.

    Args:
        line: the text.
        kinds: (start, end, class) of its tokens.
        differing: (start, end) of the words that the other side does not have.
    """
    links = [
        Span(start, end, f'<a href="#trap-{number}">', "</a>")
        for start, end, number in named_in(line)
        if any(kind in ("c", "s") and a <= start and end <= b for a, b, kind in kinds)
    ]
    marks = [Span(start, end, "<mark>", "</mark>") for start, end in differing]
    colours = [Span(start, end, f'<span class="{kind}">', "</span>") for start, end, kind in kinds]
    layers = (links, marks, colours)  # from the outside to the inside
    edges = {0, len(line)} | {edge for spans in layers for span in spans for edge in (span.start, span.end)}
    cuts = sorted(edge for edge in edges if edge <= len(line))
    parts = []
    for start, end in pairwise(cuts):
        text = html.escape(line[start:end], quote=False)
        for spans in reversed(layers):
            around = next((span for span in spans if span.start <= start and end <= span.end), None)
            text = f"{around.opened}{text}{around.closed}" if around else text
        parts.append(text)
    return "".join(parts)
