"""Where a network looks: the gradient by its input, and Grad-CAM."""

import numpy as np

from experiment.visualize.canvas import BLUE, DIM, MAGNITUDE, MARGIN, ORANGE, TITLE, Canvas, reduced, time_axis
from experiment.visualize.subject import Subject, draw_sound, picture, sizes


def saliency(gradient: np.ndarray) -> np.ndarray:
    """Return the largest magnitude (...) over the channels of a gradient (..., C)."""
    return np.abs(gradient).max(axis=-1)


def grad_cam(activation: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """Return the map (...) of Selvaraju et al. 2017, arXiv 1610.02391, of activations and their gradient (..., C).

    Each channel counts as much as the mean of its gradient; what speaks against the class is left out.
    """
    weights = gradient.mean(axis=tuple(range(gradient.ndim - 1)))
    return np.maximum((activation * weights).sum(axis=-1), 0)


def enlarged(values: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Return a map in the shape of the input, by linear interpolation along each axis."""
    for axis, length in enumerate(shape):
        count = values.shape[axis]
        places = (np.arange(length) + 0.5) * count / length - 0.5
        along = np.apply_along_axis(lambda row, at=places, n=count: np.interp(at, np.arange(n), row), axis, values)
        values = along
    return values


def draw_saliency(subject: Subject, values: np.ndarray, title: str) -> bytes:
    """Return the input beside the magnitude of the gradient by it, `saliency`."""
    about = "how much the logit changes with each value of the input"
    if subject.is_sound:
        return _sound(subject, values, title, about, "|gradient|")
    return _panels(subject, title, about, [("input", None), ("magnitude of the gradient", values)])


def draw_grad_cam(subject: Subject, values: np.ndarray, title: str) -> bytes:
    """Return the input beside the map of `grad_cam`."""
    large = enlarged(values, subject.values.shape[:-1])
    about = "where the activations speak for the class" if values.any() else "no activation speaks for the class"
    if subject.is_sound:
        return _sound(subject, large, title, about, "Grad-CAM")
    return _panels(subject, title, about, [("input", None), ("Grad-CAM", values), ("both", large)])


def _panels(subject: Subject, title: str, about: str, panels: list[tuple[str, np.ndarray | None]]) -> bytes:
    """Draw images side by side; None is the input, and the last of three is drawn over it."""
    width, height = sizes(subject)
    canvas = Canvas(2 * MARGIN + len(panels) * (width + 14) + 70, TITLE + 20 + height + MARGIN, title, about)
    base, options = picture(subject)
    image = None
    for at, (words, values) in enumerate(panels):
        left, top = MARGIN + at * (width + 14), TITLE + 20
        canvas.text(left, TITLE + 8, words, size=9)
        if values is None or at == 2:
            canvas.image(left, top, width, height, base, **options)
        if values is None:
            continue
        shown = reduced(values) if max(values.shape) > max(base.shape[:2]) else values
        shown = shown[::-1] if subject.spectrogram else shown
        most = float(values.max()) or 1.0
        if at < 2:
            image = canvas.image(left, top, width, height, shown, cmap=MAGNITUDE, vmin=0, vmax=most)
        else:
            part = 0.65 * shown / most
            canvas.image(left, top, width, height, shown, cmap=MAGNITUDE, vmin=0, vmax=most, alpha=part)
    canvas.color_bar(image, MARGIN + len(panels) * (width + 14), TITLE + 20, height, panels[1][0])
    return canvas.png()


def _sound(subject: Subject, values: np.ndarray, title: str, about: str, label: str) -> bytes:
    """Draw the waveform above the values of a map (length,) over the same time."""
    canvas = Canvas(740, TITLE + 300, title, about)
    above = canvas.axes(MARGIN + 60, TITLE, 640, 120)
    draw_sound(above, subject)
    above.set_xticklabels([])
    above.set_xlabel("")
    below = canvas.axes(MARGIN + 60, TITLE + 140, 640, 120)
    end, words = time_axis(len(values), subject.rate)
    times = np.arange(len(values)) * (end / len(values))
    below.fill_between(times, 0, values, color=ORANGE, linewidth=0)
    below.set(xlim=(0, end), ylim=(0, 1.05 * (float(values.max()) or 1.0)))
    below.set_xlabel(words, fontsize=8)
    below.set_ylabel(label, fontsize=8)
    below.axhline(0, color=DIM, linewidth=0.5)
    above.lines[0].set_color(BLUE)
    return canvas.png()
