"""A figure laid out in pixels, and grids of small images: what all pictures are drawn with."""

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

DPI = 100
MARGIN, TITLE = 12, 48  # pixels: around everything, and for the title with its second line
SIGNED, MAGNITUDE, GREY = "PuOr_r", "cividis", "gray"  # color-blind-safe: orange to purple, and blue to yellow
BLUE, ORANGE, GREEN, DIM = "#0072b2", "#d55e00", "#009e73", "#59636e"  # of Okabe and Ito
TILE = 84  # pixels: about the side of a small image
LARGEST = 112  # positions: a larger one is reduced by whole factors


class Canvas:
    """A figure with a title; places and sizes are in pixels, from the top left."""

    def __init__(self, width: int, height: int, title: str, about: str = ""):
        # Imported here: a third of a second, for which --help does not have to wait.
        from matplotlib.figure import Figure

        needed = 2 * MARGIN + 8 * len(title), 2 * MARGIN + round(6.1 * len(about))
        self.width, self.height = max(width, *needed), height
        self.figure = Figure(figsize=(self.width / DPI, height / DPI), dpi=DPI)
        self.text(MARGIN, 18, title, size=11, weight="bold")
        self.text(MARGIN, 36, about, size=9, color=DIM)

    def axes(self, left: float, top: float, width: float, height: float) -> Any:
        """Return new axes."""
        bottom = self.height - top - height
        axes: Any = self.figure.add_axes(
            (left / self.width, bottom / self.height, width / self.width, height / self.height)
        )
        axes.tick_params(labelsize=8)
        return axes

    def text(self, left: float, middle: float, text: str, **style: Any) -> None:
        """Write a line of text; what the user has named is made `drawable` before."""
        style = {"va": "center_baseline"} | style
        self.figure.text(left / self.width, 1 - middle / self.height, text, **style)

    def image(self, left: int, top: int, width: int, height: int, values: np.ndarray, **style: Any) -> Any:
        """Draw an image, each value as a rectangle of pixels; return what a color bar needs.

        Args:
            left, top, width, height: its place.
            values: (H, W), or colors (H, W, 3) from 0 to 1.
            style: `cmap`, `vmin` and `vmax` of values, and `alpha`, one number or (H, W).
        """
        from matplotlib.cm import ScalarMappable
        from matplotlib.colors import Normalize

        limits = Normalize(style.get("vmin", values.min()), style.get("vmax", values.max()))
        colors = ScalarMappable(limits, style.get("cmap"))
        pixels = colors.to_rgba(values, style.get("alpha"), bytes=True)
        rows, columns = (np.arange(n) * m // n for n, m in zip((height, width), values.shape[:2], strict=True))
        # Not in axes of its own, which take ten times as long.
        self.figure.figimage(pixels[rows][:, columns], left, self.height - top - height)
        return colors

    def color_bar(self, image: Any, left: float, top: float, height: float, label: str) -> None:
        """Draw the color bar of an image."""
        bar = self.figure.colorbar(image, cax=self.axes(left, top, 12, height))
        bar.ax.tick_params(labelsize=8)
        bar.set_label(label, fontsize=8)
        bar.outline.set_visible(False)
        bar.ax.locator_params(nbins=5)

    def png(self) -> bytes:
        """Return the picture; of equal values it is equal to the byte."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg

        buffer = io.BytesIO()
        FigureCanvasAgg(self.figure).print_png(buffer)
        return buffer.getvalue()


def scale(values: np.ndarray) -> dict[str, Any]:
    """Return colors and limits for an image: of values of both signs, zero is white."""
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if low < 0:
        most = max(-low, high)
        return {"cmap": SIGNED, "vmin": -most, "vmax": most}
    return {"cmap": MAGNITUDE, "vmin": 0.0, "vmax": high or 1.0}


def reduced(images: np.ndarray) -> np.ndarray:
    """Return images (..., H, W) of at most `LARGEST` positions a side: means over squares of larger ones."""
    factor = math.ceil(max(images.shape[-2:]) / LARGEST)
    if factor == 1:
        return images
    height, width = (length // factor * factor for length in images.shape[-2:])
    parts = images[..., :height, :width].reshape(*images.shape[:-2], height // factor, factor, width // factor, factor)
    return parts.mean(axis=(-3, -1))


def grid(tiles: np.ndarray, names: Sequence[str], title: str, about: str, label: str, columns: int = 8) -> Canvas:
    """Return a picture of small images side by side, with a name above each.

    Args:
        tiles: (K, H, W) values in common colors, or (K, H, W, 3) colors from 0 to 1.
        names: of the images.
        title: of the picture.
        about: its second line.
        label: of the color bar.
        columns: images in a row.
    """
    height, width = tiles.shape[1:3]
    pixels = max(1, round(TILE / max(height, width)))
    rows, columns = -(-len(tiles) // columns), min(columns, len(tiles))
    across, down = max(width * pixels, 8 * max(map(len, names))) + 8, height * pixels + 20
    bar = 80 if tiles.ndim == 3 else 0
    inside = max(rows * down, 90 if bar else 0)
    canvas = Canvas(2 * MARGIN + columns * across + bar, TITLE + inside + MARGIN, title, about)
    limits, image = (scale(tiles) if bar else {}), None
    for at, (tile, name) in enumerate(zip(tiles, names, strict=True)):
        left, top = MARGIN + at % columns * across, TITLE + at // columns * down
        canvas.text(left, top + 9, name, size=8, color=DIM)
        image = canvas.image(left, top + 18, width * pixels, height * pixels, tile, **limits)
    if bar and image is not None:
        canvas.color_bar(image, MARGIN + columns * across + 4, TITLE + 18, min(inside - 22, 220), label)
    return canvas


def time_axis(length: int, rate: float | None) -> tuple[float, str]:
    """Return where the time axis of so many samples ends, and its label."""
    return (length / rate, "time (s)") if rate else (float(length), "sample")


def chosen(count: int, most: int) -> str:
    """Return a note about what is shown of many."""
    return "" if count <= most else f"; the first {most} are shown"
