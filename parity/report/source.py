"""A Python source as lines of HTML, with keywords, strings, numbers and comments told apart."""

import html
import io
import keyword
import tokenize

CLASSES = {tokenize.STRING: "s", tokenize.NUMBER: "n", tokenize.COMMENT: "c"}


def highlighted(text: str) -> list[str]:
    """Return the lines of a source; what is no valid Python is left as it is from there on."""
    return [_line(line, found) for line, found in zip(text.splitlines(), token_spans(text), strict=True)]


def token_spans(text: str) -> list[list[tuple[int, int, str]]]:
    """Return (start, end, class) of the tokens of every line that are told apart."""
    lines = text.splitlines()
    marks: list[list[tuple[int, int, str]]] = [[] for _ in lines]
    try:
        for token in tokenize.generate_tokens(io.StringIO("\n".join(lines) + "\n").readline):
            kind = "k" if keyword.iskeyword(token.string) else _kind(token.type)
            if kind:
                _mark(marks, lines, token, kind)
    except (tokenize.TokenError, SyntaxError):
        pass
    return marks


def _kind(token: int) -> str:
    """Return the class of a token; from Python 3.12 on an f-string comes in parts."""
    return CLASSES.get(token) or ("s" if tokenize.tok_name[token].startswith("FSTRING") else "")


def _mark(marks: list[list[tuple[int, int, str]]], lines: list[str], token: tokenize.TokenInfo, kind: str) -> None:
    (first, start), (last, end) = token.start, token.end
    for row in range(first, min(last, len(lines)) + 1):
        stop = end if row == last else len(lines[row - 1])
        marks[row - 1].append((start if row == first else 0, stop, kind))


def _line(line: str, marks: list[tuple[int, int, str]]) -> str:
    parts, at = [], 0
    for start, end, kind in sorted(marks):
        if start < at or end > len(line):
            continue
        parts += [html.escape(line[at:start]), f'<span class="{kind}">{html.escape(line[start:end])}</span>']
        at = end
    return "".join([*parts, html.escape(line[at:])])
