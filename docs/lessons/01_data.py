# %% [markdown]
# # 1. Data: a batch
#
# **You will be able to** say what a batch is, down to its bytes; write a loader in ten lines of numpy; give the same
# batch to JAX and to PyTorch without copying it; and measure what a loader costs.
#
# **You need** Python and numpy. No deep learning yet.
#
# **To follow along**, clone the project, run the second command of its [README](../../README.md), which installs
# PyTorch, too, and activate the environment with `. .venv/bin/activate`. Then copy the cells of this page, one after
# the other, into `ipython` (`pip install ipython`), or into one file that you run with `python`, in any folder.
# Python's own prompt will not do before version 3.13: it ends a function at the first empty line. What draws the
# pictures is left out on this page: `python docs/lessons/01_data.py` in the clone runs the whole lesson and writes its
# pictures to files.
#
# ## What a network sees
#
# A network is trained on examples, each of them an input and a label. Here the inputs are 8x8 images of handwritten
# digits, which come with scikit-learn, and a label is the digit that was meant.

# %%
import numpy as np

from data import fit_to, load

digits = load("digits")
images, labels = digits.train
print(images.shape, images.dtype, "from", images.min(), "to", images.max())
print(labels.shape, labels.dtype, "the first ten:", labels[:10])

# %% [markdown]
# `images` is one array with four axes: example, height, width, channel. A gray image has one channel, a color image
# has three. This order is called **NHWC** or *channels last*. The pixels are bytes: images are stored like this, and a
# byte takes a quarter of the memory of a `float32`.

# %% tags=["remove-input"]
from matplotlib.figure import Figure
from show import picture, solutions, source

figure = Figure(figsize=(7.5, 1.9), layout="constrained")
for axes, image, label in zip(figure.subplots(1, 8), images, labels, strict=False):
    axes.imshow(image[..., 0], cmap="gray")
    axes.set(xticks=[], yticks=[], title=f"label {label}")
picture(figure, "Eight gray images of handwritten digits, each with its label above")

# %% [markdown]
# ## Normalization
#
# Training works best if the inputs have about mean 0 and standard deviation 1: then no input is large only because of
# its unit. So the mean $\mu$ and the deviation $\sigma$ of all pixels are computed once, and every pixel $x$ becomes
# $(x - \mu) / \sigma$.
#
# They are computed **from the training examples alone**. The test examples stand for data that nobody has seen; if
# their mean went into the training, the test would no longer be one.

# %%
scaled = images / 255
print("computed here: ", scaled.mean(), scaled.std())
print("of the dataset:", *digits.mean, *digits.std)

# %% [markdown]
# The networks of later lessons take 32x32 pixels, so the images are enlarged once, now. `fit_to` keeps the mean and
# the deviation of the original images. Enlarging smooths an image, so its deviation becomes a little smaller; that
# does no harm, as long as training and test use the same two numbers.

# %%
dataset, note = fit_to(digits, (32, 32, 1))
images, labels = dataset.train
print(note, "->", images.shape)

# %% [markdown]
# ## A loader from scratch
#
# A network sees some examples at a time, a *batch*: all at once would take too much memory, one at a time would be
# slow. An *epoch* is one pass over all examples. They come in another order in each epoch, so that the batches differ.
#
# A loader in ten lines:


# %%
def batches(images, labels, size, seed, epoch):
    order = np.random.default_rng([seed, epoch]).permutation(len(images))
    for first in range(0, len(order), size):
        index = order[first : first + size]
        inputs = images[index].astype(np.float32) / 255
        yield (inputs - dataset.mean) / dataset.std, labels[index]


inputs, numbers = next(batches(images, labels, size=32, seed=0, epoch=0))
print(inputs.shape, inputs.dtype, f"mean {inputs.mean():.2f}, deviation {inputs.std():.2f}")

# %% [markdown]
# The order is made from `[seed, epoch]` and from nothing else. That is worth more than it seems. The same seed gives
# the same batches in both frameworks, today and tomorrow, and epoch 7 can be had without the six before it, which is
# what resuming an interrupted training needs. A generator that is *advanced* by each batch has neither property: its
# order depends on everything that drew from it before. This idea comes back in lesson 3 for JAX's random numbers.
#
# The project's own loader rests on it. This is its order:

# %% tags=["remove-input"]
import data.loader

source(data.loader.Loader.order)

# %% [markdown]
# Give both the same seed and they agree, up to the rounding of `float32`:

# %%
from data import Loader

loader = Loader(dataset.train, dataset.mean, dataset.std, batch_size=32, seed=0)
batch = next(loader.epoch(0))
print("same labels:", (batch.labels == numbers).all(), " largest difference:", abs(batch.inputs - inputs).max())

# %% [markdown]
# The difference is not 0. `Loader` computes $x \cdot s - o$ with $s = 1 / (255 \sigma)$ and $o = \mu / \sigma$. That
# is the same formula with one operation less, and each operation rounds. Remember the size of this number, below
# 1e-6: *rounding* looks like this. A *mistake* is larger. Telling them apart is what `parity` does from lesson 2 on.
#
# ## The same memory for both frameworks
#
# JAX takes channels last as they are. PyTorch wants **NCHW**, channels before height and width. No number has to be
# moved for that: `movedim` returns a view, another way to count through the same memory.

# %% tags=["remove-input"]
import torchnets.tensors

source(torchnets.tensors.as_tensor)

# %%
import torch

from torchnets.tensors import as_tensor

view = as_tensor(batch.inputs)
print(batch.inputs.shape, "->", tuple(view.shape))
print("same memory:", view.data_ptr() == batch.inputs.ctypes.data)
print("PyTorch calls it channels_last:", view.is_contiguous(memory_format=torch.channels_last))

# %% [markdown]
# A tempting wrong way is `reshape`. It also returns (32, 1, 32, 32), and for one channel it is even right. With three
# channels it takes the three colors of a pixel for three neighbors in a row. The shape is right and nothing fails: it
# is the first of many mistakes in this course of which only the numbers tell. Exercise 3 is about it.
#
# ## Against `DataLoader`
#
# PyTorch's `DataLoader` asks a `Dataset` for one example after the other and then stacks them. Ours gathers a whole
# batch with one numpy call. Both do the same work here: shuffle, gather, scale, normalize.

# %%
from time import perf_counter

from torch.utils.data import DataLoader, Dataset


class Digits(Dataset):
    def __len__(self):
        return len(labels)

    def __getitem__(self, index):
        return (images[index].astype(np.float32) / 255 - dataset.mean) / dataset.std, labels[index]


def seconds(epoch):
    """Return the shortest of twenty times of a pass over all batches."""
    times = []
    for _ in range(20):
        start = perf_counter()
        for _batch in epoch():
            pass
        times.append(perf_counter() - start)
    return min(times)


SIZES = (128, 256, 512, 1024)
rates = {"DataLoader": [], "ten lines of numpy": [], "data.Loader": []}
for size in SIZES:
    torch_loader = DataLoader(Digits(), size, shuffle=True)
    ours = Loader(dataset.train, dataset.mean, dataset.std, size, seed=0)
    rates["DataLoader"].append(len(labels) / seconds(lambda: torch_loader))
    rates["ten lines of numpy"].append(len(labels) / seconds(lambda: batches(images, labels, size, 0, 0)))
    rates["data.Loader"].append(len(labels) / seconds(lambda: ours.epoch(0)))
for name, values in rates.items():
    print(f"{name:20}", *(f"{value:10,.0f}" for value in values), "examples/s")

# %% tags=["remove-input"]
figure = Figure(figsize=(6.5, 3.4), layout="constrained")
axes = figure.subplots()
for (name, values), color, marker in zip(rates.items(), ("#D55E00", "#56B4E9", "#0072B2"), "so^", strict=True):
    axes.plot(SIZES, values, marker=marker, color=color, label=name)
axes.set(xscale="log", yscale="log", xlabel="batch size", ylabel="examples per second", xticks=SIZES)
axes.set_xticks(SIZES, [str(size) for size in SIZES])
axes.minorticks_off()
ticks = [digit * 10**power for power in range(3, 9) for digit in (1, 2, 5)]
shown = [tick for tick in ticks if axes.get_ylim()[0] < tick < axes.get_ylim()[1]]
axes.set_yticks(shown, [f"{tick:,}" for tick in shown])
axes.grid(alpha=0.3)
axes.legend()
picture(figure, "Examples per second against batch sizes from 128 to 1,024, for three loaders, on logarithmic axes")

# %% [markdown]
# `DataLoader` spends its time in Python, once per example, so a larger batch does not help it. Numpy spends its time
# in the arithmetic, and `data.Loader` does that in place and in pieces that fit the processor's cache.
#
# What does the picture *not* say? `DataLoader` can use several processes, and it is slow on simple things because it
# may do anything with an example. Whether it matters depends on the network: a loader has to be as fast as the
# training step, not faster. [Loader speed](../loader.md) has careful measurements, with workers and real data.
#
# ## Parity: are they the same numbers?
#
# Speed is worth nothing if the batches differ. So `DataLoader` is told our order, and both batches are compared.

# %%
torch_loader = DataLoader(Digits(), 32, sampler=loader.order(0).tolist())
torch_inputs, torch_labels = next(iter(torch_loader))
assert (torch_labels.numpy() == batch.labels).all()
difference = np.linalg.norm(torch_inputs.numpy() - batch.inputs) / np.linalg.norm(batch.inputs)
print(f"relative difference: {difference:.1e}")
assert difference < 1e-6

# %% [markdown]
# The relative difference $\lVert a - b \rVert / \lVert b \rVert$ says how far two arrays are apart, whatever their
# unit. It is 1e-7 or so here: rounding. All comparisons of this project use it.
#
# ## Augmentation
#
# More data help; changing the data a little is the next best thing. A digit that is moved by two pixels is still the
# same digit. An *augmentation* changes each training example at random, in another way in each epoch. Test examples
# are never changed.
#
# The random numbers are drawn in numpy, once per example and epoch, and do not depend on the batch size. Both
# frameworks therefore train on the same pixels. Here is every augmentation of the project, one per row. The images are
# tinted, so that changes of color show. The last rows are sounds, as waveforms and as spectrograms: arrays with other
# axes, treated in the same way. They have a lesson of their own.

# %% tags=["hide-input"]
from matplotlib.figure import Figure
from show import picture

from data import AUGMENTATIONS, apply_frontend
from data.augment import augment, draw
from data.base import full_scale

EXAMPLES, AS_IT_IS = 6, "as they are"
tones = load("tones")
SOURCES = {
    "images": fit_to(digits, (32, 32, 3))[0],
    "waveforms": tones,
    "features": apply_frontend(tones, "logmel")[0],
}
rows = [(kind, name) for kind in SOURCES for name in (AS_IT_IS, *AUGMENTATIONS)]
rows = [(kind, name) for kind, name in rows if name == AS_IT_IS or AUGMENTATIONS[name].kind == kind]
figure = Figure(figsize=(7.5, 0.95 * len(rows)), layout="constrained")
for row, (kind, name) in zip(figure.subplots(len(rows), EXAMPLES), rows, strict=True):
    examples = SOURCES[kind].train.inputs[:EXAMPLES]
    x = examples.astype(np.float32) / np.float32(full_scale(examples.dtype))
    if kind == "images":
        x = x * np.linspace((1, 0.6, 0.2), (0.2, 0.6, 1), EXAMPLES, dtype=np.float32)[:, None, None]
    if name != AS_IT_IS:
        x = augment(x, draw((name,), EXAMPLES, seed=0, epoch=0), (name,), SOURCES[kind].mean)
    for axes, example in zip(row, x, strict=True):
        axes.set(xticks=[], yticks=[])
        if kind == "waveforms":
            axes.plot(example[:600, 0], linewidth=0.5)
            axes.set_ylim(-1.2, 1.2)
        else:
            axes.imshow(example if kind == "images" else example[::-1, :, 0], cmap="cividis", aspect="auto")
    row[0].set_ylabel(f"{kind},\n{name}" if name == AS_IT_IS else name, rotation=0, ha="right", va="center")
picture(figure, "One row per augmentation: six images, waveforms or spectrograms as it changes them", "augmentations")

# %% [markdown]
# ## Exercises
#
# Write a function for each and check it: `from exercises import check`, then `check(1, 2, my_function)` for exercise 2
# of lesson 1. Start `ipython` in `docs/lessons`, or put your code into a file there.
#
# 1. **A loader.** Write `batches(inputs, labels, size, seed, epoch)` without looking above; it need not normalize.
#    Each example comes once per epoch; other epochs and other seeds have other orders; the same seed and epoch give
#    the same order.
# 2. **Statistics of color images.** Write `statistics(images)` for bytes (N, H, W, 3): mean and standard deviation of
#    each *channel*, of pixels scaled to 0 to 1, as two arrays of shape (3,).
# 3. **Channels first.** Write `channels_first(x)` from (N, H, W, C) to (N, C, H, W) in numpy, without copying.

# %% tags=["remove-input"]
solutions("01_data")

# %% [markdown]
# Next: [what a network is, if it holds no weights](02_functions.py).
