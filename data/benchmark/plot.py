"""The classic plot: batch size against loading time."""

import io
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from data.benchmark.measure import Row
from data.benchmark.report import figures

TITLES = {"raw": "uint8, shuffled", "flip,crop": "float32, flip and crop", "affine": "float32, affine"}
STYLES = {"data": "o-", "memcpy": "^:", "gather": "v:"}  # by how names begin; else dashed


def plot(rows: Sequence[Row]) -> bytes:
    """Return a PNG: a column for each dataset and task, milliseconds a batch above, images a second below."""
    panels = list(dict.fromkeys((row.dataset, row.task) for row in rows))
    colours = {name: f"C{at}" for at, name in enumerate(dict.fromkeys(row.contender for row in rows))}
    figure = Figure(figsize=(4.5 * len(panels), 8), layout="constrained")
    axes = figure.subplots(2, len(panels), squeeze=False)
    for column, (dataset, task) in enumerate(panels):
        own = [row for row in rows if (row.dataset, row.task) == (dataset, task)]
        for name in dict.fromkeys(row.contender for row in own):
            _lines(axes[0, column], axes[1, column], [row for row in own if row.contender == name], colours[name])
        axes[0, column].set_title(f"{dataset}: {TITLES[task]}")
        for row, label in enumerate(("milliseconds a batch", "images a second")):
            panel = axes[row, column]
            panel.set(xscale="log", yscale="log", xlabel="batch size", ylabel=label)
            sizes = sorted({one.batch_size for one in own})
            panel.set_xticks(sizes, list(map(str, sizes)))
            panel.minorticks_off()
            panel.grid(alpha=0.3)
        axes[0, column].legend(fontsize="small")
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)  # no pyplot: no global state, no display needed
    return buffer.getvalue()


def _lines(above: Axes, below: Axes, rows: Sequence[Row], colour: str) -> None:
    """Draw one contender: the medians, and bars from the quickest round to the slowest."""
    name = rows[0].contender
    style = next((style for start, style in STYLES.items() if name.startswith(start)), "s--")
    sizes, found = [row.batch_size for row in rows], [figures(row) for row in rows]
    middle = [one.milliseconds for one in found]
    bars = [[one.milliseconds - one.least for one in found], [one.most - one.milliseconds for one in found]]
    above.errorbar(sizes, middle, bars, fmt=style, color=colour, label=name, capsize=2, markersize=4)
    below.plot(sizes, [one.images_per_second for one in found], style, color=colour, markersize=4)
