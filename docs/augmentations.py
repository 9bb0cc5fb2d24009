# %% [markdown]
# # What augmentation does
#
# This lesson applies every augmentation, one at a time, to the same examples: embedded digits, telephone tones, and
# the tones' log-mel spectrograms. Random numbers are drawn in numpy, once per example and epoch, so both frameworks
# train on the same pixels.

# %%
import sys
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from data import AUGMENTATIONS, apply_frontend, fit_to, load
from data.augment import augment, draw
from data.base import full_scale

EXAMPLES = 6
tones = load("tones")
SOURCES = {
    "images": fit_to(load("digits"), (32, 32, 3))[0],
    "waveforms": tones,
    "features": apply_frontend(tones, "logmel")[0],
}

# %%
rows = [(kind, name) for kind in SOURCES for name in ("as it is", *AUGMENTATIONS)]
rows = [(kind, name) for kind, name in rows if name == "as it is" or AUGMENTATIONS[name].kind == kind]
figure = Figure(figsize=(9, 1.1 * len(rows)), layout="constrained")
for row, (kind, name) in zip(figure.subplots(len(rows), EXAMPLES), rows, strict=True):
    dataset = SOURCES[kind]
    inputs = dataset.train.inputs[:EXAMPLES]
    x = inputs.astype(np.float32) / np.float32(full_scale(inputs.dtype))
    if kind == "images":  # tint the grey digits, so that changes of color are visible
        x = x * np.linspace((1, 0.6, 0.2), (0.2, 0.6, 1), EXAMPLES, dtype=np.float32)[:, None, None]
    if name != "as it is":
        x = augment(x, draw((name,), EXAMPLES, seed=0, epoch=0), (name,), dataset.mean)
    for axes, example in zip(row, x, strict=True):
        axes.set(xticks=[], yticks=[])
        if kind == "waveforms":
            axes.plot(example[:600, 0], linewidth=0.5)
            axes.set_ylim(-1.2, 1.2)
        else:
            axes.imshow(example if kind == "images" else example[::-1, :, 0], aspect="auto", vmin=None)
    row[0].set_ylabel(name, rotation=0, ha="right", va="center")

# %%
if len(sys.argv) > 1:  # the PNG file to write; without it, nothing is written
    FigureCanvasAgg(figure).print_png(Path(sys.argv[1]))
