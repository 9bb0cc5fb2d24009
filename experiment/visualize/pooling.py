"""What max-pooling keeps: its input, the positions of the maxima, and its output."""

import numpy as np

from experiment.activations import Pool
from experiment.visualize.canvas import BLUE, DIM, MARGIN, ORANGE, TITLE, Canvas, scale

CHANNELS = 4
SIDE = 180  # pixels
SECTION = 64  # positions of a sound that are shown


def draw_pool(name: str, pool: Pool, seconds: float | None) -> bytes:
    """Return a picture of a max-pooling of one example (1, ..., C), in the channels with the largest outputs."""
    inputs, kept, outputs = (values[0] for values in pool)
    totals = outputs.sum(axis=tuple(range(outputs.ndim - 1)))
    order = np.argsort(-totals, kind="stable")[:CHANNELS]
    shapes = " to ".join("x".join(map(str, values.shape[:-1])) for values in (inputs, outputs))
    share = 100 * (kept > 0).mean()
    title = f"{name}: {shapes} positions, {share:.0f}% of the values are kept"
    channels = ", ".join(map(str, order))
    if inputs.ndim == 2:
        return _sound(title, inputs, kept, outputs, order, seconds)
    about = f"channels {channels}: those with the largest sum of outputs; the same colors for all"
    if max(inputs.shape[:2]) > SIDE // 2:
        inputs, kept, outputs = _section(inputs, kept, outputs, order[0])
        about += f"; a section of {inputs.shape[0]}x{inputs.shape[1]}"
    height, width = inputs.shape[:2]
    pixels = max(1, SIDE // max(height, width))
    across, down = width * pixels, height * pixels
    canvas = Canvas(2 * MARGIN + 60 + 3 * (across + 14) + 70, TITLE + 20 + len(order) * (down + 12), title, about)
    limits = scale(inputs[..., order])
    for column, words in enumerate(("input", "kept, the rest faded", "output")):
        canvas.text(MARGIN + 60 + column * (across + 14), TITLE + 8, words, size=9)
    image = None
    for row, channel in enumerate(order):
        top = TITLE + 20 + row * (down + 12)
        canvas.text(MARGIN, top + down / 2, f"ch. {channel}", size=8, color=DIM)
        for column, values in enumerate((inputs, inputs, outputs)):
            left = MARGIN + 60 + column * (across + 14)
            tile = values[..., channel]
            if column == 1:
                tile = _faded(image, tile, kept[..., channel])
            found = canvas.image(left, top, across, down, tile, **({} if column == 1 else limits))
            image = found if column == 0 else image
    canvas.color_bar(image, MARGIN + 64 + 3 * (across + 14), TITLE + 20, min(220, down), "activation")
    return canvas.png()


def _section(
    inputs: np.ndarray, kept: np.ndarray, outputs: np.ndarray, channel: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the part (SECTION, SECTION, C) of large inputs around the largest value of a channel, and its outputs."""
    largest = np.unravel_index(inputs[..., channel].argmax(), inputs.shape[:2])
    part, after = [], []
    for at, length, count in zip(largest, inputs.shape, outputs.shape, strict=False):
        stride = max(1, round(length / count))
        begin = max(0, min(int(at) - SECTION // 2, length - SECTION)) // stride * stride
        part.append(slice(begin, begin + SECTION))
        after.append(slice(begin // stride, (begin + SECTION) // stride))
    return inputs[tuple(part)], kept[tuple(part)], outputs[tuple(after)]


def _faded(image: object, values: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Return the colors (H, W, 3) of values, near white where they are not kept."""
    colors = image.to_rgba(values)[..., :3]  # type: ignore[attr-defined]
    return np.where(kept[..., None] > 0, colors, 0.85 + 0.15 * colors)


def _sound(
    title: str, inputs: np.ndarray, kept: np.ndarray, outputs: np.ndarray, order: np.ndarray, seconds: float | None
) -> bytes:
    """Draw a section of each channel over time: the inputs as a line, what is kept as dots, the outputs as steps."""
    begin = max(0, min(int(inputs[:, order[0]].argmax()) - SECTION // 2, len(inputs) - SECTION))
    end = min(len(inputs), begin + SECTION)
    unit, label = ((seconds / len(inputs)), "time (s)") if seconds else (1.0, "position")
    about = (
        f"{end - begin} of {len(inputs)} positions, around the largest value; line: input, dots: kept, steps: output"
    )
    canvas = Canvas(760, TITLE + len(order) * 130 + 30, title, about)
    step = max(1, round(len(inputs) / len(outputs)))  # the stride: the last inputs may be in no window
    for row, channel in enumerate(order):
        axes = canvas.axes(MARGIN + 50, TITLE + row * 130 + 6, 660, 100)
        places = np.arange(begin, end)
        axes.plot(places * unit, inputs[begin:end, channel], color=BLUE, linewidth=1)
        dots = places[kept[begin:end, channel] > 0]
        axes.plot(dots * unit, inputs[dots, channel], "o", color=ORANGE, markersize=4)
        first, last = min(begin // step, len(outputs) - 1), min(len(outputs), -(-end // step))
        edges = (np.arange(first, last + 1) * step - 0.5) * unit
        axes.stairs(outputs[first:last, channel], edges, color=DIM, linewidth=1, baseline=None)
        axes.set_xlim((begin - 0.5) * unit, (end - 0.5) * unit)
        axes.set_ylabel(f"channel {channel}", fontsize=8)
        if row == len(order) - 1:
            axes.set_xlabel(label, fontsize=8)
        else:
            axes.set_xticklabels([])
    return canvas.png()
