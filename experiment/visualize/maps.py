"""The activations of a layer for one input."""

from collections.abc import Sequence

import numpy as np

from experiment.runs.plots import drawable
from experiment.visualize.canvas import (
    BLUE,
    DIM,
    MARGIN,
    ORANGE,
    TITLE,
    Canvas,
    chosen,
    grid,
    reduced,
    scale,
    time_axis,
)

MOST = 32  # channels as images
ROWS = 128  # channels as rows of a picture over time
BARS, NAMES = 128, 24  # values as bars, and with names


def draw_activation(title: str, values: np.ndarray, seconds: float | None, classes: Sequence[str] = ()) -> bytes:
    """Return a picture of the activations (..., C) of one example.

    Args:
        title: of the picture.
        values: (H, W, C), (length, C) or (C,).
        seconds: how long the sound is that the network is given; None of a picture.
        classes: their names, if the values are logits.
    """
    count = values.shape[-1]
    if values.ndim == 3 and values.shape[:2] != (1, 1):
        tiles = reduced(np.moveaxis(values, -1, 0))[:MOST]
        names = [str(at) for at in range(len(tiles))]
        return grid(tiles, names, title, _colors(tiles) + chosen(count, MOST), "activation").png()
    if values.ndim == 2 and len(values) > 1:
        return _over_time(title, values, seconds)
    return _bars(title, values.reshape(-1), classes)


def _colors(values: np.ndarray) -> str:
    return "channels; white is 0" if values.min(initial=0) < 0 else "channels; dark is 0"


def _over_time(title: str, values: np.ndarray, seconds: float | None) -> bytes:
    """Draw channels (length, C) as rows over time."""
    part = values.T[:ROWS]
    height = min(360, max(120, 8 * len(part)))
    canvas = Canvas(740, TITLE + height + 50, title, _colors(part) + chosen(values.shape[-1], ROWS))
    axes = canvas.axes(MARGIN + 50, TITLE, 560, height)
    end, label = (seconds, "time (s)") if seconds else time_axis(len(values), None)
    image = axes.imshow(part, aspect="auto", interpolation="nearest", extent=(0, end, len(part), 0), **scale(part))
    axes.set_xlabel(label, fontsize=8)
    axes.set_ylabel("channel", fontsize=8)
    canvas.color_bar(image, MARGIN + 625, TITLE, height, "activation")
    return canvas.png()


def _bars(title: str, values: np.ndarray, classes: Sequence[str]) -> bytes:
    """Draw values (C,) as bars, the largest in another colour."""
    part = values[: BARS * 8]
    named = 0 < len(classes) <= NAMES
    canvas = Canvas(740, TITLE + 250, title, "logits" if len(classes) else "units" + chosen(len(values), BARS * 8))
    axes = canvas.axes(MARGIN + 50, TITLE, 640, 140 if named else 160)
    places = np.arange(len(part))
    if len(part) <= BARS:
        colors = np.where(places == part.argmax(), ORANGE, BLUE)
        axes.bar(places, part, color=colors.tolist())
    else:
        axes.vlines(places, 0, part, color=BLUE, linewidth=0.5)
    axes.axhline(0, color=DIM, linewidth=0.6)
    axes.set_xlim(-1, len(part))
    if named:
        axes.set_xticks(places, [drawable(name, 12) for name in classes], rotation=30, ha="right")
    axes.set_xlabel("class" if len(classes) else "unit", fontsize=8)
    axes.set_ylabel("logit" if len(classes) else "activation", fontsize=8)
    return canvas.png()
