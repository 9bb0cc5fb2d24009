"""The input that a network is looked into with, drawn as a picture or as a waveform."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from experiment.runs.plots import drawable
from experiment.visualize.canvas import BLUE, DIM, GREY, MAGNITUDE, MARGIN, ORANGE, TITLE, Canvas, reduced, time_axis

SIDE = 220  # pixels of a large image
TOP = 5  # classes


class Subject(NamedTuple):
    """An input of the network, before normalization."""

    values: np.ndarray  # (H, W, C) or (length, C)
    rate: float | None = None  # of a sound, in Hz
    spectrogram: bool = False  # whether the values are features of a sound in dB

    @property
    def is_sound(self) -> bool:
        """Return whether it is a waveform."""
        return self.values.ndim == 2


def picture(subject: Subject) -> tuple[np.ndarray, dict[str, Any]]:
    """Return an image as matplotlib takes it, and the options of `imshow`."""
    values = subject.values
    if subject.spectrogram:
        return values[::-1, :, 0], {"cmap": MAGNITUDE}
    found = np.moveaxis(reduced(np.moveaxis(values, -1, 0)), 0, -1)
    if values.shape[-1] == 3:
        return np.clip(found, 0, 1), {}
    low, high = min(0.0, float(found.min())), max(1.0, float(found.max()))
    return found[..., 0], {"cmap": GREY, "vmin": low, "vmax": high}


def sizes(subject: Subject, side: int = SIDE) -> tuple[int, int]:
    """Return width and height in pixels for an image whose longer side has `side`, or a whole multiple near it."""
    height, width = picture(subject)[0].shape[:2]
    pixels = max(1, side // max(height, width))
    return width * pixels, height * pixels


def draw_sound(axes: Any, subject: Subject, *, small: bool = False) -> None:
    """Draw a waveform, the first channel, over time."""
    end, label = time_axis(len(subject.values), subject.rate)
    times = np.arange(len(subject.values)) * (end / len(subject.values))
    axes.plot(times, subject.values[:, 0], color=BLUE, linewidth=0.6)
    axes.set_xlim(0, end)
    if small:
        axes.set(xticks=[], yticks=[])
        return
    axes.set_xlabel(label, fontsize=8)
    axes.set_ylabel("amplitude", fontsize=8)


def draw_input(subject: Subject, classes: Sequence[str], shares: np.ndarray, title: str, about: str) -> bytes:
    """Return the input beside the probabilities (classes,) of the likeliest classes."""
    width, height = (420, 200) if subject.is_sound else sizes(subject)
    names = [drawable(name, 24) for name in classes]
    order = np.argsort(-shares, kind="stable")[:TOP]
    left = 50 if subject.is_sound else 0
    labels = MARGIN + left + width + 30 + 7 * max(len(names[at]) for at in order)
    inside = max(height, 40 * len(order))
    canvas = Canvas(labels + 260 + MARGIN, TITLE + inside + 52, title, about)
    if subject.is_sound:
        draw_sound(canvas.axes(MARGIN + left, TITLE, width, inside), subject)
    else:
        values, options = picture(subject)
        canvas.image(MARGIN, TITLE, width, height, values, **options)
        if subject.spectrogram:
            canvas.text(MARGIN, TITLE + height + 12, "time: left to right; pitch: up", size=8, color=DIM)
    bars = canvas.axes(labels, TITLE, 210, inside)
    bars.barh(range(len(order)), 100 * shares[order], color=[ORANGE, *[BLUE] * (len(order) - 1)], height=0.6)
    bars.set_yticks(range(len(order)), [names[at] for at in order], fontsize=9)
    for at, label in enumerate(order):
        bars.text(100 * shares[label] + 2, at, f"{100 * shares[label]:.1f}%", va="center", fontsize=8)
    bars.set(xlim=(0, 125), xticks=[0, 25, 50, 75, 100])
    bars.invert_yaxis()
    bars.set_xlabel("probability (%)", fontsize=8)
    for side in ("top", "right"):
        bars.spines[side].set_visible(False)
    return canvas.png()
