"""The two pictures of a run: how it learned, and what it still confuses."""

import io
from collections.abc import Collection, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

READABLE = 40  # classes of which all names and counts are drawn
LABEL = 40  # characters of a class's name
LEGEND = 10  # runs in a legend


def _figure(width: float, height: float) -> "Figure":
    # Imported here: a third of a second, for which neither --help nor --list-models has to wait.
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _png(figure: "Figure") -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)  # no pyplot: no global state, no display needed
    return buffer.getvalue()


@cache
def _known() -> Collection[int]:
    """Return the characters of the font, as numbers."""
    from matplotlib.font_manager import FontProperties, findfont, get_font

    return get_font(findfont(FontProperties())).get_charmap()


def drawable(text: str, most: int = 100) -> str:
    """Return text for a label: what the font lacks is escaped, and no character has a meaning for matplotlib.

    Of a text of more than `most` characters the middle is left out.
    """
    half = most // 2
    text = text if len(text) <= most else f"{text[:half]}...{text[-half:]}"
    shown = "".join(char if ord(char) in _known() else ascii(char)[1:-1] for char in text)
    # A dollar sign would begin a formula; a legend leaves out what begins with an underscore.
    return (f" {shown}" if shown.startswith("_") else shown).replace("$", r"\$")


def curves(rows: Sequence[Mapping[str, Any]], title: str) -> bytes:
    """Return a PNG of loss and accuracy over the epochs; `rows` are those of metrics.jsonl."""
    figure = _figure(10, 4)
    figure.suptitle(drawable(title))
    for axes, key, label in zip(figure.subplots(1, 2), ("loss", "accuracy"), ("loss", "accuracy (%)"), strict=True):
        for split, style in (("train", "-"), ("validation", "--"), ("test", ":")):
            points = [(row["epoch"], row[key]) for row in rows if row["split"] == split]
            epochs, values = zip(*points, strict=True)
            scale = 100 if key == "accuracy" else 1
            ys = [np.nan if value is None else value * scale for value in values]
            axes.plot(epochs, ys, style, marker=".", label=split)
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend()
    return _png(figure)


def overlaid(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> bytes:
    """Return a PNG of several runs' curves; `runs` are names to rows of metrics.jsonl. The legend has the first."""
    figure = _figure(10, 5)
    left, right = figure.subplots(1, 2)
    for at, (name, rows) in enumerate(runs.items()):
        for axes, key, split, style in (
            (left, "loss", "train", "-"),
            (left, "loss", "validation", "--"),
            (right, "accuracy", "validation", "--"),
            (right, "accuracy", "test", ":"),
        ):
            points = [(row["epoch"], row[key]) for row in rows if row["split"] == split]
            ys = [np.nan if value is None else value * (100 if key == "accuracy" else 1) for _, value in points]
            label = drawable(f"{name}, {split}") if at < LEGEND else None
            axes.plot([epoch for epoch, _ in points], ys, style, marker=".", color=f"C{at % 10}", label=label)
    for axes, title in ((left, "loss"), (right, "accuracy (%)")):
        axes.set(xlabel="epoch", ylabel=title)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    return _png(figure)


def trials(rows: Sequence[Mapping[str, Any]], log: Collection[str], metric: str = "accuracy") -> bytes:
    """Return a PNG of a search: validation `metric` over each option, later trials darker; `log`: options."""
    names = list(rows[0]["options"])
    figure = _figure(4 * len(names) + 4, 4)
    scale, unit = (1, "") if metric == "loss" else (100, " (%)")
    values = [np.nan if row["monitored"] is None else scale * row["monitored"] for row in rows]
    best = np.fmin if metric == "loss" else np.fmax
    first, *others = np.atleast_1d(figure.subplots(1, len(names) + 1, sharey=True))
    first.plot([row["trial"] for row in rows], values, "o")
    first.plot([row["trial"] for row in rows], best.accumulate(values), "-")
    first.set(xlabel="trial", ylabel=f"validation {metric}{unit}")
    for axes, name in zip(others, names, strict=True):
        options = [row["options"][name] for row in rows]
        options = [drawable(str(option)) for option in options] if isinstance(options[0], str) else options
        axes.scatter(options, values, c=range(len(rows)), cmap="Blues", edgecolors="grey")
        axes.set_xlabel(name)
        if name in log:
            axes.set_xscale("log")
    for axes in (first, *others):
        axes.grid(alpha=0.3)
    return _png(figure)


def confusion(matrix: np.ndarray, classes: Sequence[str], title: str) -> bytes:
    """Return a PNG of a confusion matrix (classes, classes): counts, coloured by the share of each row.

    Of very many classes the picture is no larger: it has the colours, and the names of some.
    """
    counts = matrix.sum(axis=1, keepdims=True)
    share = np.where(counts > 0, matrix / np.maximum(counts, 1), np.nan)  # a class without examples has no share
    side = 2.5 + 0.5 * min(len(classes), READABLE)
    figure = _figure(side + 1, side)
    axes = figure.subplots()
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.argwhere(matrix) if len(classes) <= READABLE else ():
        colour = "white" if share[row, column] > 0.5 else "black"
        axes.text(column, row, str(matrix[row, column]), ha="center", va="center", color=colour, fontsize=8)
    chosen = range(0, len(classes), -(-len(classes) // READABLE))  # every label, or every second one and so on
    names = [drawable(classes[at], LABEL) for at in chosen]
    axes.set_xticks(chosen, names, rotation=45, ha="right")
    axes.set_yticks(chosen, names)
    axes.set(xlabel="predicted", ylabel="true", title=drawable(title))
    figure.colorbar(image, ax=axes, label="share of the true class")
    return _png(figure)


def ratios(series: Mapping[str, Mapping[str, Sequence[float]]], title: str) -> bytes:
    """Return a PNG of ratios on a logarithmic axis, 1 marked; `series` are names to labels to (middle, low, high)."""
    labels = list(dict.fromkeys(label for points in series.values() for label in points))
    figure = _figure(9, 2 + 0.5 * len(labels))
    axes = figure.subplots()
    places = {label: -at for at, label in enumerate(labels)}
    for at, (name, points) in enumerate(series.items()):
        middle, low, high = np.array([points[label] for label in points]).reshape(-1, 3).T
        ys = [places[label] + 0.3 - 0.6 * at / max(1, len(series) - 1) for label in points]
        axes.errorbar(middle, ys, xerr=np.maximum([middle - low, high - middle], 0), fmt="o", capsize=3, label=name)
    axes.axvline(1, color="grey", linewidth=1)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("{x:g}")
    axes.set_yticks([places[label] for label in labels], labels)
    axes.set(title=title, xlabel="ratio", ylim=(0.6 - len(labels), 0.6) if labels else None)
    axes.grid(alpha=0.3, which="both", axis="x")
    if labels:
        figure.legend(loc="outside lower center", ncols=len(series))
    return _png(figure)
