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
WIDTH = 560  # pixels: of a picture over time
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
    part, together = _columns(values.T[:ROWS])
    height = min(360, max(120, 8 * len(part)))
    about = _colors(part) + chosen(values.shape[-1], ROWS)
    about += f"; a column has the largest magnitude of {together} positions" if together > 1 else ""
    canvas = Canvas(740, TITLE + height + 50, title, about)
    axes = canvas.axes(MARGIN + 50, TITLE, WIDTH, height)
    end, label = (seconds, "time (s)") if seconds else time_axis(len(values), None)
    extent = (0, end * part.shape[1] * together / len(values), len(part), 0)
    image = axes.imshow(part, aspect="auto", interpolation="nearest", extent=extent, **scale(part))
    axes.set_xlim(0, end)
    axes.set_xlabel(label, fontsize=8)
    axes.set_ylabel("channel", fontsize=8)
    canvas.color_bar(image, MARGIN + WIDTH + 65, TITLE, height, "activation")
    return canvas.png()


def _columns(rows: np.ndarray) -> tuple[np.ndarray, int]:
    """Return rows (C, length) of at most `WIDTH` columns, and how many positions each column stands for."""
    together = -(-rows.shape[1] // WIDTH)
    padded = np.pad(rows, ((0, 0), (0, -rows.shape[1] % together)))
    groups = padded.reshape(len(rows), -1, together)
    return np.take_along_axis(groups, np.abs(groups).argmax(axis=-1)[..., None], axis=-1)[..., 0], together


def _bars(title: str, values: np.ndarray, classes: Sequence[str]) -> bytes:
    """Draw values (C,) as bars, the largest in another color."""
    part = values[: BARS * 8]
    about = "orange: the largest" + chosen(len(values), BARS * 8)
    named = 0 < len(classes) <= NAMES
    canvas = Canvas(740, TITLE + 210, title, about)
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
        turned = {"rotation": 30, "ha": "right"} if max(map(len, classes)) * len(classes) > 60 else {}
        axes.set_xticks(places, [drawable(name, 12) for name in classes], **turned)
    axes.set_xlabel("class" if len(classes) else "unit", fontsize=8)
    axes.set_ylabel("logit" if len(classes) else "activation", fontsize=8)
    return canvas.png()
