"""What a lesson shows: the source of both sides, read from the real modules, pictures, and solutions.

On the site and in a notebook it is drawn; if a lesson is run as a program, it is printed.
"""

import html
import inspect
import io
import itertools
import keyword
import re
import shutil
import sys
import tempfile
import textwrap
import tokenize
from base64 import b64encode
from collections import Counter
from difflib import SequenceMatcher
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parents[2]
KINDS = {tokenize.STRING: "s", tokenize.NUMBER: "n", tokenize.COMMENT: "c"}
WORDS = re.compile(r"\s+|\w+|[^\w\s]")  # of a comment or a string: they are compared word by word
LIKE = 0.35  # share of common tokens from which on two lines stand beside each other

Line = list[tuple[str, str]]  # its tokens, and the spaces between them, each with its kind


class View(NamedTuple):
    """What is shown: HTML for a notebook, text for a terminal."""

    html: str
    text: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.text


def show(view: View) -> None:
    """Show a view where the lesson runs: in the notebook, or on the terminal."""
    if "IPython" in sys.modules and "ipykernel" in sys.modules:
        sys.displayhook(view)
    else:
        print(view)


def side_by_side(jax: Any, torch: Any, titles: tuple[str, str] = ("JAX", "PyTorch")) -> None:
    """Show the sources of two objects (functions, classes, modules) in two columns, differing words marked."""
    texts = [_source(side) for side in (jax, torch)]
    heads = [f"{title}: {_place(side)}" for title, side in zip(titles, (jax, torch), strict=True)]
    rows = _aligned(*(_lines(text) for text in texts))
    cells = []
    for at, head in enumerate(heads):
        cells.append(f"<span class='head'>{html.escape(head)}</span>")
        cells += [_cell(row[at], row[1 - at]) for row in rows]
    show(View(f"<div class='twin' style='--rows:{len(rows) + 1}'>{''.join(cells)}</div>", _columns(heads, rows)))


def source(side: Any, title: str = "") -> None:
    """Show the source of one object."""
    head = f"{title}: {_place(side)}" if title else _place(side)
    text = _source(side)
    cells = "".join(_cell(line, line) for line in _lines(text))
    box = f"<div class='twin one'><span class='head'>{html.escape(head)}</span>{cells}</div>"
    show(View(box, f"── {head} ──\n{text}"))


def picture(figure: Figure, alt: str, name: str = "") -> None:
    """Show a figure; `alt` says in words what is to be seen in it.

    A program writes it to a PNG file. A picture with a name is written to the folder that the program is given, so
    `python docs/lessons/01_data.py docs/pictures` makes `docs/pictures/augmentations.png`.
    """
    FigureCanvasAgg(figure)
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=150)
    if "ipykernel" in sys.modules:
        data, width = b64encode(content.getvalue()).decode(), round(figure.get_size_inches()[0] * 96)
        words = html.escape(alt, quote=True)
        image = f'<img class="picture" width="{width}" alt="{words}" src="data:image/png;base64,{data}">'
        show(View(image, f"[picture: {alt}]"))
        return
    folder = Path(sys.argv[1]) if name and len(sys.argv) > 1 else Path(tempfile.gettempdir()) / "jaxnets-lessons"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name or f'{Path(sys.argv[0]).stem}-{next(_numbers)}'}.png"
    path.write_bytes(content.getvalue())
    print(f"[picture: {alt}: {path}]")


_numbers = itertools.count(1)


def solutions(name: str) -> None:
    """Show the file with a lesson's solutions, folded."""
    path = Path(__file__).parent / "solutions" / f"{name}.py"
    cells = "".join(_cell(line, line) for line in _lines(path.read_text()))
    box = f"<details class='solutions'><summary>Solutions</summary><div class='twin one'>{cells}</div></details>"
    show(View(box, f"The solutions are in {_relative(path)}"))


def _source(side: Any) -> str:
    return textwrap.dedent(inspect.getsource(side)).rstrip("\n")


def _place(side: Any) -> str:
    side = inspect.unwrap(side)  # a decorator's file is another one
    path = _relative(Path(inspect.getsourcefile(side) or ""))
    return path if isinstance(side, ModuleType) else f"{path}:{inspect.getsourcelines(side)[1]}"


def _relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name


def _lines(text: str) -> list[Line]:
    """Return the lines of a source as tokens."""
    lines: list[Line] = [[] for _ in text.splitlines()]
    places = [0] * len(lines)
    rows = text.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(text + "\n").readline):
        kind = "k" if keyword.iskeyword(token.string) else KINDS.get(token.type, "")
        kind = kind or ("s" if tokenize.tok_name[token.type].startswith("FSTRING") else "")
        for row in range(token.start[0] - 1, min(token.end[0], len(lines))):
            start = token.start[1] if row == token.start[0] - 1 else 0
            end = token.end[1] if row == token.end[0] - 1 else len(rows[row])
            if end <= places[row] or not rows[row][start:end].strip():
                continue
            words = WORDS.findall(rows[row][start:end]) if kind in ("s", "c") else [rows[row][start:end]]
            lines[row] += [(rows[row][places[row] : start], ""), *((word, kind) for word in words)]
            places[row] = end
    return [[piece for piece in line if piece[0]] for line in lines]


def _aligned(left: list[Line], right: list[Line]) -> list[tuple[Line | None, Line | None]]:
    """Return pairs of lines, None where a line has no counterpart; the sum of what is common is the largest."""
    words = [[Counter(text for text, _ in line if text.strip()) for line in side] for side in (left, right)]
    best = [[0.0] * (len(right) + 1) for _ in range(len(left) + 1)]
    like = [[_likeness(a, b) for b in words[1]] for a in words[0]]
    for i in reversed(range(len(left))):
        for j in reversed(range(len(right))):
            together = best[i + 1][j + 1] + like[i][j] if like[i][j] >= LIKE else 0.0
            best[i][j] = max(best[i + 1][j], best[i][j + 1], together)
    rows: list[tuple[Line | None, Line | None]] = []
    i = j = 0
    while i < len(left) and j < len(right):
        if like[i][j] >= LIKE and best[i][j] == best[i + 1][j + 1] + like[i][j]:
            rows.append((left[i], right[j]))
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            rows.append((left[i], None))
            i += 1
        else:
            rows.append((None, right[j]))
            j += 1
    return [*rows, *((line, None) for line in left[i:]), *((None, line) for line in right[j:])]


def _likeness(a: Counter[str], b: Counter[str]) -> float:
    total = a.total() + b.total()
    return 2 * (a & b).total() / total if total else 0.4  # two empty lines


def _cell(line: Line | None, other: Line | None) -> str:
    """Return a line as HTML, with the tokens marked that the line beside it lacks."""
    if line is None:
        return "<span class='row gap'> </span>"
    other = line if other is None else other
    ours, theirs = ([text for text, _ in side or []] for side in (line, other))
    marked = set(range(len(ours)))
    for block in SequenceMatcher(None, ours, theirs, autojunk=False).get_matching_blocks():
        marked -= set(range(block.a, block.a + block.size))
    pieces = []
    for at, (text, kind) in enumerate(line):
        kinds = " ".join(filter(None, [kind, "d" if at in marked and text.strip() else ""]))
        pieces.append(f"<span class='{kinds}'>{html.escape(text)}</span>" if kinds else html.escape(text))
    indent = len(ours[0]) if ours and ours[0].isspace() else 0
    return f"<span class='row' style='--in:{indent}'>{''.join(pieces) or ' '}</span>"


def _columns(heads: list[str], rows: list[tuple[Line | None, Line | None]]) -> str:
    """Return both sides as text: beside each other if the terminal is wide enough, else one after the other."""
    sides = [["".join(text for text, _ in line) if line else "" for line in side] for side in zip(*rows, strict=True)]
    for head, side in zip(heads, sides, strict=True):
        side.insert(0, f"── {head} ──")
    width = max(map(len, sides[0]))
    if width + 3 + max(map(len, sides[1])) <= shutil.get_terminal_size().columns:
        return "\n".join(f"{a:{width}} │ {b}".rstrip() for a, b in itertools.zip_longest(*sides, fillvalue=""))
    texts = [
        [text for text, row in zip(side, [((), ()), *rows], strict=True) if row[at] is not None]
        for at, side in enumerate(sides)
    ]
    return "\n\n".join("\n".join(text) for text in texts)
