"""Two files line by line: which line stands beside which. The order of either is kept, every line stands once."""

from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import NamedTuple

from parity.twins.dialects import TOKEN, likeness, weight

LEAST = 0.45  # likeness of lines that stand beside each other as a pair
BRACKETS = " ,:;()[]{}"
SAME, PAIR, APART = "same", "pair", "apart"


class Row(NamedTuple):
    """A row of two columns: numbers of lines, from 0 on; None where a column is empty."""

    jax: int | None
    torch: int | None
    kind: str  # SAME: equal; PAIR: the same in two dialects; APART: what is only here stands beside what is only there


def align(ours: Sequence[str], theirs: Sequence[str]) -> list[Row]:
    """Return the rows: of all alignments, the one whose pairs are most alike."""
    rows: list[Row] = []
    i = j = 0
    for a, b in [*_pairs(ours, theirs), (len(ours), len(theirs))]:
        rows += _apart(range(i, a), range(j, b))
        if a < len(ours) and b < len(theirs):
            rows.append(Row(a, b, SAME if ours[a] == theirs[b] else PAIR))
        i, j = a + 1, b + 1
    return rows


def _apart(ours: range, theirs: range) -> Iterator[Row]:
    for at in range(max(len(ours), len(theirs))):
        yield Row(ours[at] if at < len(ours) else None, theirs[at] if at < len(theirs) else None, APART)


def _pairs(ours: Sequence[str], theirs: Sequence[str]) -> list[tuple[int, int]]:
    """Return the pairs of the best alignment, by dynamic programming from the end."""
    height, width = len(ours), len(theirs)
    best = [[0.0] * (width + 1) for _ in range(height + 1)]
    gains = [[_gain(a, b) for b in theirs] for a in ours]
    if ours and theirs:
        gains[0][0] = max(gains[0][0], 1.0)  # a file's first line says what it is
    for i in range(height - 1, -1, -1):
        row, below, gain = best[i], best[i + 1], gains[i]
        for j in range(width - 1, -1, -1):
            row[j] = max(below[j], row[j + 1], below[j + 1] + gain[j])
    found, i, j = [], 0, 0
    while i < height and j < width:
        if gains[i][j] > 0 and best[i][j] == best[i + 1][j + 1] + gains[i][j]:
            found.append((i, j))
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            i += 1
        else:
            j += 1
    return found


def _gain(ours: str, theirs: str) -> float:
    alike = likeness(ours, theirs)
    return (alike - LEAST + 0.1) * (weight(ours) + weight(theirs)) if alike >= LEAST else 0.0


def groups(rows: Sequence[Row], ours: Sequence[str], theirs: Sequence[str]) -> list[tuple[bool, list[Row]]]:
    """Return runs of rows, and whether each is a difference; a blank line ends one."""
    found: list[tuple[bool, list[Row]]] = []
    for row in rows:
        blank = not any(lines[at].strip() for lines, at in ((ours, row.jax), (theirs, row.torch)) if at is not None)
        differs = row.kind != SAME and not blank
        if found and found[-1][0] == differs:
            found[-1][1].append(row)
        else:
            found.append((differs, [row]))
    return found


def differing_words(ours: str, theirs: str) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """Return (start, end) of what differs between two lines, on both sides: whole words; brackets alone are none."""
    a, b = TOKEN.findall(ours), TOKEN.findall(theirs)
    marks: tuple[list[tuple[int, int]], list[tuple[int, int]]] = ([], [])
    for tag, *spans in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if tag == "equal":
            continue
        for tokens, (start, end), side in zip((a, b), (spans[:2], spans[2:]), marks, strict=True):
            left, word = sum(map(len, tokens[:start])), "".join(tokens[start:end])
            if word.strip(BRACKETS):
                lead = len(word) - len(word.lstrip())
                side.append((left + lead, left + len(word.rstrip())))
    return marks
