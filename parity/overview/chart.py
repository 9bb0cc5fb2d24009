"""Line charts as SVG inside of a page: axes with units, a legend in words, lines that differ by more than colour."""

import html
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

WIDTH, HEIGHT = 400, 250
LEFT, RIGHT, TOP, BOTTOM = 56, 10, 10, 38
TICKS = 5  # at most, of each axis
MOST = 400  # points of a line that are drawn
MARKS = 12  # points of a line that carry its mark, at most

Points = Sequence[tuple[float, float | None]]


class Line(NamedTuple):
    """A line of a chart."""

    label: str
    kind: str  # its colour in the style: flax, torch, first or second
    points: Points  # in order of x; a y of None leaves a gap
    dash: str = ""  # of SVG: "6 3"
    mark: str = "round"  # round, square, large or none
    wide: bool = False  # a broad pale line, on which another one can lie


class Axis(NamedTuple):
    """An axis: its range, where it has ticks, and its words."""

    label: str
    low: float
    high: float
    ticks: tuple[float, ...]
    log: bool = False
    zero: float | None = None  # where zero lies on a logarithmic axis, if there is one

    def share(self, value: float) -> float:
        """Return where a value lies, from 0 to 1."""
        if self.log:
            value = math.log10(value) if value > 0 else self.low
        return min(max((value - self.low) / (self.high - self.low), 0), 1)


def chart(
    title: str,
    lines: Sequence[Line],
    x: str,
    y: str,
    *,
    log: bool = False,
    bound: float | None = None,
    notes: Sequence[str] = (),
) -> str:
    """Return a figure with its legend.

    Args:
        title: is read out, and stands above.
        lines: one or more.
        x: the horizontal axis in words, with its unit.
        y: the vertical one.
        log: whether the vertical axis is logarithmic; what is zero lies on its lower edge, which is marked 0.
        bound: a value at which a horizontal line is drawn.
        notes: stand below the legend.
    """
    xs = [at for line in lines for at, _ in line.points]
    ys = [value for line in lines for _, value in line.points if value is not None]
    across = linear(x, xs, whole=True)
    up = logarithmic(y, [*ys, *([bound] if bound else [])]) if log else linear(y, ys)
    drawn = "".join(_line(line, across, up) for line in lines)
    if bound:
        at = _y(up, bound)
        drawn += f'<path class="bound" d="M{LEFT} {at}H{WIDTH - RIGHT}"/>'
    legend = "".join(f"<li>{_sample(line)} {html.escape(line.label)}</li>" for line in lines)
    if bound:
        legend += f'<li><svg width="30" height="12"><path class="bound" d="M0 6H30"/></svg> bound {bound:.0e}</li>'
    name = html.escape(f"{title}: {y} against {x}", quote=True)
    return (
        f"<figure><figcaption>{html.escape(title)}</figcaption>"
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{name}">'
        f'{_grid(across, up)}{drawn}</svg><ul class="legend">{legend}</ul>{_notes(notes)}</figure>'
    )


def _notes(notes: Iterable[str]) -> str:
    return "".join(f'<p class="dim">{html.escape(note)}</p>' for note in notes)


def linear(label: str, values: Iterable[float], *, whole: bool = False) -> Axis:
    """Return an axis with round ticks: its ends are the outermost of them, or the values' own where they are whole."""
    values = list(values) or [0.0, 1.0]
    low, high = min(values), max(values)
    if low == high:
        low, high = low - 0.5, high + 0.5
    step = _round_up((high - low) / TICKS)
    if whole:
        step = max(1, round(step))
    else:
        low, high = math.floor(low / step) * step, math.ceil(high / step - 1e-9) * step
    first = math.ceil(low / step - 1e-9)
    ticks = tuple(step * n for n in range(first, math.floor(high / step + 1e-9) + 1))
    return Axis(label, low, high, ticks)


def logarithmic(label: str, values: Iterable[float]) -> Axis:
    """Return an axis of whole decades; those of float64 if no value is above zero."""
    values = list(values)
    logs = [math.log10(value) for value in values if value > 0] or [-16.0]
    low, high = math.floor(min(logs)), math.ceil(max(logs))
    low -= low == high
    step = max(1, math.ceil((high - low) / TICKS))
    ticks = tuple(range(low, high + 1, step))
    zero = low - step if any(value == 0 for value in values) else None
    return Axis(label, low if zero is None else zero, high, ticks, log=True, zero=zero)


def _round_up(step: float) -> float:
    size = 10 ** math.floor(math.log10(step))
    return next(size * n for n in (1, 2, 5, 10) if size * n >= step * (1 - 1e-9))


def _x(axis: Axis, value: float) -> float:
    return round(LEFT + axis.share(value) * (WIDTH - LEFT - RIGHT), 1)


def _y(axis: Axis, value: float) -> float:
    return round(HEIGHT - BOTTOM - axis.share(value) * (HEIGHT - TOP - BOTTOM), 1)


def _grid(across: Axis, up: Axis) -> str:
    """Return both axes, with a pale line at each tick of the vertical one."""
    parts, bottom = [], HEIGHT - BOTTOM
    if up.zero is not None:
        parts.append(f'<text x="{LEFT - 5}" y="{bottom + 4}" text-anchor="end">0</text>')
    for tick in up.ticks:
        at = _y(up, 10.0**tick if up.log else tick)
        words = f"1e{tick:+03.0f}" if up.log else f"{tick:.6g}"
        parts.append(f'<path class="grid" d="M{LEFT} {at}H{WIDTH - RIGHT}"/>')
        parts.append(f'<text x="{LEFT - 5}" y="{at + 4}" text-anchor="end">{words}</text>')
    for tick in across.ticks:
        at = _x(across, tick)
        parts.append(f'<path class="axis" d="M{at} {bottom}v4"/>')
        parts.append(f'<text x="{at}" y="{bottom + 16}" text-anchor="middle">{tick:g}</text>')
    parts.append(f'<path class="axis" d="M{LEFT} {TOP}V{bottom}H{WIDTH - RIGHT}"/>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 5}" text-anchor="middle">{html.escape(across.label)}</text>')
    turned = f"translate(12 {(TOP + bottom) / 2}) rotate(-90)"
    parts.append(f'<text transform="{turned}" text-anchor="middle">{html.escape(up.label)}</text>')
    return "".join(parts)


def _line(line: Line, across: Axis, up: Axis) -> str:
    places = [(_x(across, at), _y(up, value)) if value is not None else None for at, value in thinned(line.points)]
    path, pen = "", "M"
    for place in places:
        path += f"{pen}{place[0]:g} {place[1]:g}" if place else ""
        pen = "L" if place else "M"
    found = [place for place in places if place]
    every = max(1, math.ceil(len(found) / MARKS))
    return f'<g class="{_classes(line)}"><path{_dashes(line)} d="{path}"/>{_dots(line, found[::every])}</g>'


def thinned(points: Points) -> Points:
    """Return at most about `MOST` points of a line, the last among them."""
    every = math.ceil(len(points) / MOST) or 1
    kept = list(points[::every])
    return kept if not points or kept[-1] == points[-1] else [*kept, points[-1]]


def _classes(line: Line) -> str:
    return " ".join([line.kind, line.mark, *(["wide"] if line.wide else [])])


def _dashes(line: Line) -> str:
    return f' stroke-dasharray="{line.dash}"' if line.dash else ""


def _dots(line: Line, places: Iterable[tuple[float, float]]) -> str:
    """Return the marks of a line as one path: lines without a length, whose ends are round or square."""
    if line.mark == "none":
        return ""
    return f'<path class="dots" d="{"".join(f"M{x:g} {y:g}h0" for x, y in places)}"/>'


def _sample(line: Line) -> str:
    inner = f'<path{_dashes(line)} d="M0 6H30"/>{_dots(line, [(15, 6)])}'
    return f'<svg width="30" height="12" aria-hidden="true"><g class="{_classes(line)}">{inner}</g></svg>'
