# %% [markdown]
# # 5. Convolutions seen
#
# **You will be able to** write a convolution and a max-pooling in a few lines of numpy; look at the kernels that a
# network has learned and at what each layer makes of an image; and show that both frameworks see the same.
#
# **You need** [lesson 4](04_lenet5.py): LeNet-5 and its shapes.
#
# ## A convolution in numpy
#
# At each position the kernel is laid on the image, both are multiplied number by number, and everything is added up.
# With channels, the kernel is a box (height, width, channels in), and there is one box for each channel out.

# %%
import numpy as np

from data import fit_to, load

dataset, _ = fit_to(load("digits"), (32, 32, 1))
image = dataset.train.inputs[2].astype(np.float32) / 255  # (32, 32, 1)


def convolve(x, kernel):
    """Return (H - k + 1, W - k + 1, outputs) of x (H, W, inputs) and a kernel (k, k, inputs, outputs)."""
    k = len(kernel)
    out = np.zeros((x.shape[0] - k + 1, x.shape[1] - k + 1, kernel.shape[3]), x.dtype)
    for row in range(out.shape[0]):
        for column in range(out.shape[1]):
            window = x[row : row + k, column : column + k]  # (k, k, inputs)
            out[row, column] = np.tensordot(window, kernel, axes=3)  # (outputs,)
    return out


# %% [markdown]
# A kernel that is negative on the left and positive on the right answers where the image becomes brighter from left to
# right: it finds vertical edges. Turned, it finds horizontal ones.

# %%
edge = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], np.float32) / 8
kernel = np.stack([edge, edge.T], axis=-1)[:, :, None]  # (3, 3, 1, 2)
edges = convolve(image, kernel)
print(image.shape, "*", kernel.shape, "->", edges.shape)

# %% tags=["remove-input"]
from matplotlib.figure import Figure
from show import picture, side_by_side, solutions

figure = Figure(figsize=(7.2, 2.5), layout="constrained")
titles = ("the image", "from left to right", "from top to bottom")
for axes, values, title in zip(
    figure.subplots(1, 3), (image[..., 0], *np.moveaxis(edges, -1, 0)), titles, strict=True
):
    signed = title != titles[0]
    shown = axes.imshow(
        values, cmap="PuOr_r" if signed else "gray", vmin=-0.3 if signed else 0, vmax=0.3 if signed else 1
    )
    axes.set(xticks=[], yticks=[], title=title)
    figure.colorbar(shown, ax=axes, shrink=0.7)
picture(figure, "A digit, and the answers of two edge kernels: orange where it becomes brighter, purple where darker")

# %% [markdown]
# Is it what the frameworks call a convolution? (In mathematics a convolution turns the kernel by 180 degrees first. No
# deep learning framework does; the kernel is learned anyway.) Ask both:

# %%
import torch

import jaxnets.layers
import torchnets.layers

flax = jaxnets.layers.conv2d(1, 2, 3, bias=False).apply({"params": {"kernel": kernel}}, image[None])
weight = torch.from_numpy(kernel).permute(3, 2, 0, 1)  # (out, in, H, W)
theirs = torch.nn.functional.conv2d(torch.from_numpy(image).movedim(-1, 0)[None], weight)
print("Flax:   ", abs(flax[0] - edges).max())
print("PyTorch:", abs(theirs[0].movedim(0, -1).numpy() - edges).max())

# %% [markdown]
# These are the two functions that make all convolutions of the project. One of them has to write out what the other
# one has as default:

# %% tags=["remove-input"]
side_by_side(jaxnets.layers.conv, torchnets.layers.conv)

# %% [markdown]
# ## What LeNet-5 has learned
#
# Nobody gives a network edge kernels. It starts from random ones and learns. `jaxnets.fit` trains as the command line
# does, here for six epochs:

# %%
import jax

import jaxnets

digits = load("digits")
model = jaxnets.build("lenet5")
result = jaxnets.fit(model, digits, epochs=6, seed=0)  # enlarges the images as needed
print(f"test accuracy: {result.scores['test'].accuracy:.1%}")
before = model.init(jax.random.key(0), np.zeros((1, 32, 32, 1), np.float32))["params"]["conv1"]["kernel"]
after = np.asarray(result.variables["params"]["conv1"]["kernel"])  # (5, 5, 1, 6)

# %% tags=["remove-input"]
figure = Figure(figsize=(7.5, 2.6), layout="constrained")
grid, largest = figure.subplots(2, 6), abs(after).max()
for row, (values, name) in enumerate(((np.asarray(before), "random"), (after, "learned"))):
    for number, axes in enumerate(grid[row]):
        axes.imshow(values[:, :, 0, number], cmap="PuOr_r", vmin=-largest, vmax=largest)
        axes.set(xticks=[], yticks=[])
    grid[row][0].set_ylabel(name)
picture(figure, "The six 5x5 kernels of conv1, random before the training, with larger regions of one sign after it")

# %% [markdown]
# Orange is positive, purple negative. The numbers have become larger, and in some kernels neighbors have the same
# sign: a bright stroke beside a dark one, in several directions. Do not expect tidy edges. Six epochs on 1,293
# digits are little, and nothing in the loss asks for kernels that please the eye.
#
# ## What each layer makes of an image
#
# `jaxnets.activations` returns the outputs of every layer *and* every function of a network, by name:

# %%
from jaxnets.activations import activations, max_pools

example = result.inputs(digits.test.inputs[:1])  # enlarged and normalized as in the training
seen = activations(result.module, result.variables, example)
for name, activation in seen.items():
    print(f"{name:12}{activation.kind:14}{activation.values.shape}")

# %% tags=["remove-input"]
figure = Figure(figsize=(7.5, 4.2), layout="constrained")
shown = [name for name in seen if seen[name].values.ndim == 4 and seen[name].values.shape[1] > 1][:3]
for row, name in zip(figure.subplots(3, 6), shown, strict=True):
    values = seen[name].values[0]
    largest = abs(values).max()
    for number, axes in enumerate(row):
        axes.imshow(values[..., number], cmap="PuOr_r", vmin=-largest, vmax=largest)
        axes.set(xticks=[], yticks=[])
    row[0].set_ylabel(name)
picture(figure, "One digit after conv1, after the ReLU and after the pooling, in six channels; orange is positive")

# %% [markdown]
# Read a column from top to bottom. The convolution answers with both signs. The ReLU removes the negative ones
# (purple), so a channel says *where its feature is*, not where it is not. The pooling halves the image and keeps the
# strongest answers. Then `conv2` looks for patterns in these six maps together, and so on, until nothing of the image
# is left but 120 numbers.
#
# ## What max-pooling keeps
#
# Of each 2x2 square the largest value goes on, and its *position* is lost. That is intended: a stroke that moves by a
# pixel often gives the same result. For the gradient the position matters: it goes back to the position that won, and
# the other three get 0.

# %%
pool = max_pools(result.module, result.variables, example)["max_pool_1"]
print(pool.inputs.shape, "->", pool.outputs.shape, f" positions kept: {(pool.kept > 0).mean():.0%}")

# %% tags=["remove-input"]
figure = Figure(figsize=(7.2, 2.5), layout="constrained")
channel = pool.outputs[0].sum((0, 1)).argmax()
parts = (("input", pool.inputs), ("positions kept", pool.kept), ("output", pool.outputs))
for axes, (title, values) in zip(figure.subplots(1, 3), parts, strict=True):
    axes.imshow(values[0, ..., channel], cmap="gray")
    axes.set(xticks=[], yticks=[], title=f"{title}, {values.shape[1]}x{values.shape[2]}")
picture(figure, "A channel in front of the pooling, the one position kept in each 2x2 square, and the smaller output")

# %% [markdown]
# In the dark background all four values of a square are 0, and one of them must be chosen: the frameworks must choose
# *the same* one, or their gradients differ although their outputs agree. PyTorch takes the first. `jaxnets.layers`
# does so too; the comment in its source tells what XLA's and numpy's maximum would do.
#
# ## Parity: do both frameworks see the same?
#
# The trained weights are carried to PyTorch, and the same image goes through both networks, in `float32` as in the
# training. Every output of every layer and function is compared, by the same names. What is left is rounding, 1e-7:

# %%
import parity
import torchnets
import torchnets.activations

net = torchnets.build("lenet5")
net.load_state_dict(parity.to_torch(result.variables, net))
theirs = torchnets.activations.activations(net, net.state_dict(), example)
assert list(theirs) == list(seen)
for name in seen:
    ours, reference = seen[name].values, theirs[name].values
    difference = np.linalg.norm(ours - reference) / np.linalg.norm(reference)
    print(f"{name:12}{difference:9.1e}")
    assert difference < 1e-5

# %% [markdown]
# `python -m jaxnets visualize RUN --out DIR` draws such pictures of any network of yours.
#
# ## Exercises
#
# `from exercises import check`, then `check(5, 1, my_function)`.
#
# 1. **Padding.** Write `convolve_same(x, kernel)` in numpy: zeros are put around x (H, W, inputs) so that the output
#    is (H, W, outputs), for kernels of odd size.
# 2. **Pooling.** Write `max_pool(x, size, padding)` in numpy for x (H, W, C), with stride `size`. The padding must
#    never win.
# 3. **Receptive field.** How much of the image can one output number depend on? Write `receptive_field(layers)` for a
#    list of `(kernel, stride)`, first layer first; a pooling counts as a layer.

# %% tags=["remove-input"]
solutions("05_convolutions")

# %% [markdown]
# Next: [residual connections](06_residual.py), or how networks became deep.
