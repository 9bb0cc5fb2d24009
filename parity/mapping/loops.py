"""Find the rules that repeat with a number in their names, for a loop over layers."""

import functools
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from parity.mapping.rule import Rule

Token = str | int | tuple[str, int]  # a text, a number, or a number that a loop counts: its variable, what is added
Tokens = tuple[Token, ...]
VARIABLE, INNER = "i", "j"


class Line(NamedTuple):
    """A leaf's path, its sources and its steps; loops' numbers are tokens."""

    path: Tokens
    sources: tuple[Tokens, ...]
    steps: tuple[str, ...]


class Loop(NamedTuple):
    """Lines for each of some numbers; none: once."""

    numbers: range | None
    lines: list[Line]


def looped(rules: Mapping[str, Rule]) -> list[Loop]:
    """Return the rules as loops, in the order of their first leaves."""
    given = [Line(_tokens(p), tuple(map(_tokens, rule.sources)), rule.steps) for p, rule in rules.items()]
    found: dict[object, tuple[int, Loop]] = {}
    done: set[int] = set()
    for place, members in _families(given):
        for run in _runs(given, members):
            first = given[run[0]]
            start = first.path[place]
            assert isinstance(start, int)
            numbers = range(start, start + len(run))
            line = _generalized([given[n] for n in run], place)
            loop = found.setdefault((first.path[:place], numbers), (min(run), Loop(numbers, [])))
            loop[1].lines.append(line)
            done.update(run)
    singles = [(n, Loop(None, [line])) for n, line in enumerate(given) if n not in done]
    return _merged([loop for _, loop in sorted([*found.values(), *singles], key=lambda item: item[0])])


def _tokens(name: str) -> Tokens:
    """Return texts and numbers in turn; a number with a leading zero is text."""
    parts = re.split(r"((?<!\d)(?:0|[1-9]\d*)(?!\d))", name)
    return tuple(int(part) if n % 2 else part for n, part in enumerate(parts))


def _families(given: Sequence[Line]) -> Iterator[tuple[int, list[int]]]:
    """Yield lines that are alike but for their numbers, and the place of the number in their path."""
    groups: dict[object, list[int]] = {}
    kinds: dict[int, list[object]] = {}
    for n, line in enumerate(given):
        blank = tuple(tuple(token for token in source if isinstance(token, str)) for source in line.sources)
        for place in range(1, len(line.path), 2):
            kind = place, (*line.path[:place], None, *line.path[place + 1 :]), line.steps, blank
            groups.setdefault(kind, []).append(n)
            kinds.setdefault(n, []).append(kind)
    chosen: dict[object, list[int]] = {}
    for n, own in kinds.items():
        best = max(own, key=lambda kind: len(groups[kind]))
        chosen.setdefault(best, []).append(n)
    for kind, members in chosen.items():
        assert isinstance(kind, tuple)
        if len(members) > 1:
            yield kind[0], sorted(members, key=functools.partial(_number, given, kind[0]))


def _number(given: Sequence[Line], place: int, n: int) -> int:
    number = given[n].path[place]
    assert isinstance(number, int)
    return number


def _runs(given: Sequence[Line], members: Sequence[int]) -> Iterator[list[int]]:
    """Yield the longest runs whose numbers stay or count up together."""
    run: list[int] = []
    for n in members:
        if run and not _goes_on([given[m] for m in [*run, n]]):
            if len(run) > 1:
                yield run
            run = []
        run.append(n)
    if len(run) > 1:
        yield run


def _goes_on(lines: Sequence[Line]) -> bool:
    flat = [[token for name in (line.path, *line.sources) for token in name] for line in lines]
    return all(
        len(set(column)) == 1 or [*column] == [column[0] + n for n in range(len(column))]
        for column in zip(*flat, strict=True)
        if not isinstance(column[0], str)
    )


def _generalized(lines: Sequence[Line], place: int) -> Line:
    """Return the one line for a run."""
    start = lines[0].path[place]

    def general(names: Sequence[Tokens]) -> Tokens:
        columns = zip(*names, strict=True)
        return tuple(column[0] if len(set(column)) == 1 else (VARIABLE, column[0] - start) for column in columns)

    sources = zip(*(line.sources for line in lines), strict=True)
    return Line(general([line.path for line in lines]), tuple(map(general, sources)), lines[0].steps)


def _merged(loops: list[Loop]) -> list[Loop]:
    """Return loops that follow each other with the same numbers as one."""
    groups = itertools.groupby(loops, key=lambda loop: loop.numbers)
    return [Loop(numbers, [line for loop in group for line in loop.lines]) for numbers, group in groups]


def layers_of(sources: Sequence[Tokens]) -> tuple[list[Tokens], range | None]:
    """Return the sources of one layer and the numbers of the layers; all of them and None if they are not such."""
    for count in range(1, len(sources) // 2 + 1):
        if len(sources) % count:
            continue
        layers = len(sources) // count
        general = [_counting([sources[n + count * layer] for layer in range(layers)]) for n in range(count)]
        if all(general):
            numbers = general[0][1]  # type: ignore[index]
            if layers > 2 and all(one[1] == numbers for one in general):  # type: ignore[index]
                return [one[0] for one in general], numbers  # type: ignore[index]
    return list(sources), None


def _counting(names: Sequence[Tokens]) -> tuple[Tokens, range] | None:
    """Return the tokens of names in which one number counts up."""
    if len({len(name) for name in names}) > 1:
        return None
    columns = list(zip(*names, strict=True))
    varying = [n for n, column in enumerate(columns) if len(set(column)) > 1]
    if len(varying) != 1:
        return None
    column = columns[varying[0]]
    if not isinstance(column[0], int) or list(column) != [column[0] + n for n in range(len(column))]:
        return None
    tokens = tuple((INNER, 0) if n == varying[0] else token for n, token in enumerate(names[0]))
    return tokens, range(column[0], column[0] + len(column))
