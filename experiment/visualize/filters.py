"""The weights of a layer: filters of images as small images, filters of sounds with their frequency responses."""

import numpy as np

from experiment.activations import Kernel
from experiment.visualize.canvas import BLUE, DIM, MAGNITUDE, MARGIN, TITLE, Canvas, chosen, grid, scale

MOST, SQUARE, LINES = 64, 16, 16  # filters in a grid; filters and channels in a square; filters as lines
MATRIX = 256  # rows and columns of a matrix
BINS = 512  # of a frequency response
FLOOR = -40  # dB


def draw_filters(name: str, kernel: Kernel, rate: float | None, image: tuple[int, ...]) -> bytes:
    """Return a picture of the weights of a layer.

    Args:
        name: of the layer.
        kernel: its weights.
        rate: of the samples that the layer is given, in Hz; None unless the network takes sounds.
        image: the shape (H, W, C) of the network's inputs if the layer is given these, flattened; else ().
    """
    values = kernel.values
    if kernel.kind == "linear":
        return _linear(name, values, image)
    *size, inputs, outputs = values.shape
    channels = "1 channel" if inputs == 1 else f"{inputs} channels"
    unit = "" if len(size) > 1 else " samples" if inputs == 1 else " positions"
    title = f"{name}: {outputs} filters of {'x'.join(map(str, size))}{unit} over {channels}"
    if len(size) == 1:
        return _lines(title, values[:, 0], rate) if inputs == 1 else _rows(title, values)
    if inputs == 3:
        return _colored(title, values)
    if inputs == 1:
        tiles, about = np.moveaxis(values[:, :, 0], -1, 0)[:MOST], "white is 0; all in the same colors"
        names = [str(at) for at in range(len(tiles))]
        return grid(tiles, names, title, about + chosen(outputs, MOST), "weight").png()
    return _square(title, values)


def _colored(title: str, values: np.ndarray) -> bytes:
    tiles = np.moveaxis(values, -1, 0)[:MOST]
    colors = 0.5 + tiles / (2 * np.abs(tiles).max() or 1.0)
    about = "red, green and blue are the weights of the three channels; mid-grey is 0"
    return grid(colors, [str(at) for at in range(len(tiles))], title, about + chosen(len(values.T), MOST), "").png()


def _square(title: str, values: np.ndarray) -> bytes:
    """Draw filters in rows, the channels that they look at in columns."""
    *_, inputs, outputs = values.shape
    part = values[:, :, :SQUARE, :SQUARE]
    height, width, across, down = part.shape
    pixels = max(4, 40 // max(height, width))
    step_x, step_y = width * pixels + 4, height * pixels + 4
    shown = "" if max(inputs, outputs) <= SQUARE else f"; the first {down} filters and {across} channels are shown"
    about = f"rows: filters, columns: input channels; white is 0{shown}"
    total = max(down * step_y, 100)
    canvas = Canvas(2 * MARGIN + 30 + across * step_x + 80, TITLE + 20 + total + MARGIN, title, about)
    image, limits = None, scale(np.append(part, -np.abs(part).max()))
    for row in range(down):
        canvas.text(MARGIN, TITLE + 20 + row * step_y + height * pixels / 2, str(row), size=8, color=DIM)
        for column in range(across):
            left, top = MARGIN + 30 + column * step_x, TITLE + 20 + row * step_y
            if row == 0:
                canvas.text(left, top - 8, str(column), size=8, color=DIM)
            tile = part[:, :, column, row]
            image = canvas.image(left, top, width * pixels, height * pixels, tile, **limits)
    canvas.color_bar(image, MARGIN + 34 + across * step_x, TITLE + 20, min(total, 220), "weight")
    return canvas.png()


def _linear(name: str, values: np.ndarray, image: tuple[int, ...]) -> bytes:
    """Draw the weights of each unit as an image, if the layer is given one; else the whole matrix."""
    inputs, outputs = values.shape
    if len(image) == 3 and image[-1] in (1, 3) and inputs == np.prod(image):
        height, width, channels = image
        tiles = values.T.reshape(outputs, channels, height, width)[:MOST]  # flattened as in PyTorch, channels first
        title = f"{name}: the weights of {outputs} units on the pixels of the input"
        return grid(
            tiles.mean(axis=1),
            [str(at) for at in range(len(tiles))],
            title,
            "white is 0" + (", mean of the three channels" if channels == 3 else "") + chosen(outputs, MOST),
            "weight",
        ).png()
    part = values[:MATRIX, :MATRIX].T
    canvas = Canvas(640, TITLE + 330, f"{name}: {outputs} units of {inputs} inputs", "white is 0")
    axes = canvas.axes(MARGIN + 50, TITLE, 480, 280)
    shown = axes.imshow(part, aspect="auto", interpolation="nearest", **scale(np.append(part, -np.abs(part).max())))
    axes.set_xlabel(f"input{chosen(inputs, MATRIX)}", fontsize=8)
    axes.set_ylabel(f"unit{chosen(outputs, MATRIX)}", fontsize=8)
    canvas.color_bar(shown, MARGIN + 545, TITLE, 280, "weight")
    return canvas.png()


def _rows(title: str, values: np.ndarray) -> bytes:
    """Draw filters of sounds over many channels: each is an image (channels, positions)."""
    tiles = values.transpose(2, 1, 0)[:LINES, : 2 * SQUARE]
    shown = "" if values.shape[1] <= 2 * SQUARE else f", the first {2 * SQUARE} of them"
    about = f"each: input channels downward{shown}, time to the right; white is 0"
    names = [str(at) for at in range(len(tiles))]
    return grid(tiles, names, title, about + chosen(values.shape[2], LINES), "weight").png()


def _lines(title: str, values: np.ndarray, rate: float | None) -> bytes:
    """Draw filters (positions, filters) of a waveform, by the frequency that they answer to most."""
    order, peaks = by_frequency(values, rate)
    picked = order[np.linspace(0, len(order) - 1, min(LINES, len(order))).round().astype(int)]
    about = "by the frequency with the largest response, above each filter" + (
        f"; {len(picked)} of {values.shape[1]} are shown" if len(picked) < values.shape[1] else ""
    )
    rows = -(-len(picked) // 4)
    canvas = Canvas(2 * MARGIN + 40 + 4 * 190, TITLE + rows * 110 + 40, title, about)
    most = float(np.abs(values).max()) or 1.0
    end = len(values) * 1000 / rate if rate else len(values)
    times = np.arange(len(values)) * (end / len(values))
    for at, which in enumerate(picked):
        axes = canvas.axes(MARGIN + 40 + at % 4 * 190, TITLE + 20 + at // 4 * 110, 165, 74)
        canvas.text(MARGIN + 40 + at % 4 * 190, TITLE + 11 + at // 4 * 110, _peak(which, peaks, rate), size=8)
        axes.plot(times, values[:, which], color=BLUE, linewidth=1)
        axes.axhline(0, color=DIM, linewidth=0.5)
        axes.set(ylim=(-1.05 * most, 1.05 * most), xlim=(0, end))
        axes.locator_params(axis="x", nbins=4, prune="upper")
        axes.locator_params(axis="y", nbins=4)
        if at % 4:
            axes.set_yticklabels([])
        if at + 4 >= len(picked):
            axes.set_xlabel("time (ms)" if rate else "sample", fontsize=8)
        else:
            axes.set_xticklabels([])
    return canvas.png()


def _peak(which: int, peaks: np.ndarray, rate: float | None) -> str:
    return f"filter {which}: {peaks[which]:,.0f} Hz" if rate else f"filter {which}"


def responses(values: np.ndarray) -> np.ndarray:
    """Return the magnitude (filters, BINS + 1) of filters (positions, inputs, outputs) from 0 to half the rate.

    That of a filter over several channels is the square root of the sum of squares over them.
    """
    found = np.abs(np.fft.rfft(values, 2 * BINS, axis=0))
    return np.sqrt(np.square(found).sum(axis=1)).T


def by_frequency(values: np.ndarray, rate: float | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the order of filters (positions, filters) by the frequency of their largest response, and these."""
    peaks = responses(values[:, None]).argmax(axis=1) * ((rate or 2.0) / 2 / BINS)
    return np.argsort(peaks, kind="stable"), peaks


def draw_responses(name: str, kernel: Kernel, rate: float | None) -> bytes:
    """Return the frequency responses of the filters of a layer that is given sounds."""
    found = responses(kernel.values)
    order = np.argsort(found.argmax(axis=1), kind="stable")
    decibels = 20 * np.log10(np.maximum(found / (found.max() or 1.0), 10 ** (FLOOR / 20)))
    title = f"{name}: frequency responses of {len(found)} filters"
    about = "a row is a filter; sorted by the frequency with the largest response"
    canvas = Canvas(700, TITLE + 360, title, about)
    axes = canvas.axes(MARGIN + 50, TITLE, 520, 310)
    end = rate / 2 if rate else 0.5
    extent, limits = (0, end, len(found), 0), {"cmap": MAGNITUDE, "vmin": FLOOR, "vmax": 0}
    image = axes.imshow(decibels[order], aspect="auto", interpolation="nearest", extent=extent, **limits)
    axes.set_xlabel("frequency (Hz)" if rate else "frequency (of the sampling rate)", fontsize=8)
    axes.set_ylabel("filter, sorted", fontsize=8)
    canvas.color_bar(image, MARGIN + 585, TITLE, 310, "response (dB below the largest)")
    return canvas.png()
