"""The mistakes that a network is most confident in."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from experiment.runs.plots import drawable
from experiment.visualize.canvas import DIM, MARGIN, TITLE, Canvas
from experiment.visualize.subject import Subject, draw_sound, picture, sizes

MOST, COLUMNS = 12, 4


class Mistake(NamedTuple):
    """An example that is classified wrongly."""

    number: int  # in the test split, from 0
    subject: Subject
    true: str
    predicted: str
    share: float  # the probability of the predicted class


def worst(shares: np.ndarray, labels: np.ndarray, most: int = MOST) -> np.ndarray:
    """Return the indices of the mistakes by the probability (N, classes) of the predicted class, largest first."""
    wrong = np.flatnonzero(shares.argmax(axis=1) != labels)
    return wrong[np.argsort(-shares[wrong].max(axis=1), kind="stable")][:most]


def draw_mistakes(found: Sequence[Mistake], title: str, about: str) -> bytes:
    """Return the examples with the true and the predicted class."""
    width, height = (190, 80) if found[0].subject.is_sound else sizes(found[0].subject, 120)
    lines = [f"predicted: {drawable(one.predicted, 16)}, {100 * one.share:.1f}%" for one in found]
    across, down = max(width + 16, 7 * max(map(len, lines)) + 12), height + 62
    rows = -(-len(found) // COLUMNS)
    if found[0].subject.is_sound and found[0].subject.rate:
        about += f"; waveforms of {len(found[0].subject.values) / found[0].subject.rate:.2f} s"
    canvas = Canvas(2 * MARGIN + min(COLUMNS, len(found)) * across, TITLE + rows * down + MARGIN, title, about)
    for at, mistake in enumerate(found):
        left, top = MARGIN + at % COLUMNS * across, TITLE + at // COLUMNS * down
        canvas.text(left, top + 8, f"true: {drawable(mistake.true, 16)}", size=9)
        canvas.text(
            left, top + 23, f"predicted: {drawable(mistake.predicted, 16)}, {100 * mistake.share:.1f}%", size=9
        )
        canvas.text(left, top + 38, f"example {mistake.number}", size=8, color=DIM)
        if mistake.subject.is_sound:
            draw_sound(canvas.axes(left, top + 48, width, height), mistake.subject, small=True)
        else:
            values, options = picture(mistake.subject)
            canvas.image(left, top + 48, width, height, values, **options)
    return canvas.png()
