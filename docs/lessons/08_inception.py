# %% [markdown]
# # 8. Inception
#
# **You will be able to** say what a 1x1 convolution computes and how much work it saves; read an Inception block in
# both frameworks; explain why the channels are joined along the last axis in Flax and along the second one in PyTorch;
# and find a mistake that neither the shapes, nor the number of weights, nor the accuracy show.
#
# **You need** lessons [5](05_convolutions.py) (convolutions and max-pooling), [6](06_residual.py) (batch normalization
# in a block) and [7](07_vgg_alexnet.py) (weights, work and the receptive field).
#
# ## Which kernel size?
#
# VGG answers: 3x3, always. Inception answers: all of them. Some patterns are small and some are large, so a block
# looks at the same input through 1x1, 3x3 and 5x5 convolutions and a max-pool, side by side, and joins the results
# along the channels. The next layer learns which of them to use.
#
# A 5x5 convolution of many channels is expensive. Inception's second idea makes it cheap: a 1x1 convolution in front
# of it, which reduces the number of channels.
#
# GoogLeNet, a network of nine such blocks, won the ImageNet challenge of 2014; VGG came second. It needs a tenth of
# VGG-16's work and a twentieth of its weights:

# %%
import jaxnets
from jaxnets.model_summary import summarize

for name in ("vgg16", "googlenet"):
    layers = summarize(jaxnets.MODELS[name])
    weights, work = (sum(getattr(layer, field) for layer in layers) for field in ("parameters", "flops"))
    print(f"{name:10}{weights:12,} weights{work / 1e9:6.1f} GFLOP an image")

# %% [markdown]
# ## The 1x1 convolution is a linear layer
#
# A 1x1 convolution looks at one position at a time and never at its neighbors. All it does is to multiply the channels
# of each pixel by a matrix, the same for all pixels:

# %%
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnets.layers import conv2d

x = np.random.default_rng(0).normal(size=(2, 8, 8, 6)).astype(np.float32)  # (N, H, W, C)
layer = conv2d(6, 4, 1)
variables: Any = layer.init(jax.random.key(0), x)
kernel, bias = variables["params"]["kernel"], variables["params"]["bias"]
by_hand = x @ kernel[0, 0] + bias
output: Any = layer.apply(variables, x)
print("kernel", kernel.shape, "matrix", kernel[0, 0].shape, f" largest difference {abs(output - by_hand).max():.0e}")
assert np.allclose(output, by_hand, atol=1e-5)

# %% [markdown]
# Now the saving. At each position a convolution makes $k^2 \cdot C_{in} \cdot C_{out}$ multiplications. Take the first
# block of GoogLeNet. It has 192 channels in, and its row in the source says how many each path has:

# %%
from jaxnets.models.googlenet import ROWS

name, (c1, c3_in, c3, c5_in, c5, c_pool) = ROWS[0]
print(name, ROWS[0][1])
n = 192
straight = {"1x1": n * c1, "3x3": 9 * n * c3, "5x5": 25 * n * c5, "max-pool": n * c_pool}
reduced = straight | {"3x3": n * c3_in + 9 * c3_in * c3, "5x5": n * c5_in + 25 * c5_in * c5}
for path in straight:
    print(f"{path:9}{straight[path]:9,} multiplications, with a reduction in front {reduced[path]:8,}")

# %% tags=["remove-input"]
from matplotlib.figure import Figure
from show import picture, side_by_side, solutions

figure = Figure(figsize=(7.5, 2.1), layout="constrained")
axes = figure.subplots()
colors = ("#0072B2", "#56B4E9", "#009E73", "#E69F00")
for row, paths in enumerate((straight, reduced)):
    start = 0
    for (path, count), color in zip(paths.items(), colors, strict=True):
        axes.barh(row, count / 1000, left=start / 1000, color=color, edgecolor="white", label=None if row else path)
        start += count
    axes.text(start / 1000 + 5, row, f"{start:,}", va="center", fontsize=9)
axes.set(yticks=range(2), yticklabels=("straight", "reduced"), xlim=(0, 480))
axes.set(xlabel="multiplications at each position, thousands")
axes.invert_yaxis()
figure.legend(ncols=4, loc="outside upper right", fontsize=9, frameon=False)
picture(
    figure,
    "Bars of the multiplications of a block's four paths: the reductions save most in 5x5, and over half in all",
)

# %% [markdown]
# The 5x5 path is eight times cheaper with its reduction to 16 channels. A 1x1 convolution does not only save: it is
# followed by a ReLU, so it is a layer of its own that mixes channels.
#
# (torchvision's GoogLeNet has a 3x3 convolution where the paper has a 5x5. It is an old mistake that has to stay,
# since the published weights were trained with it. The small network below has a true 5x5.)

# %% [markdown]
# ## The block
#
# `inception` is a small network of this kind, for images of 32x32. Each path of a block is a list of *units*:
# convolution, batch normalization, ReLU. The six numbers in `channels` are the widths: of the 1x1; of the reduction
# and the 3x3; of the reduction and the 5x5; and of the 1x1 after the pool.

# %%
import jaxnets.models.inception
import torchnets.models.inception

print(jaxnets.models.inception.BLOCKS[0])

# %% tags=["remove-input"]
side_by_side(jaxnets.models.inception.InceptionBlock, torchnets.models.inception.InceptionBlock)

# %% [markdown]
# Look at the last lines. The paths are joined along the *channels*, which are the last axis in Flax (`axis=-1`) and
# the second in PyTorch (`dim=1`). Joined along the wrong axis, the shapes of the paths would hardly fit, so this
# mistake fails loudly. Joined in another *order*, they fit, and the network is another one.
#
# The pool has stride 1 and padding 1, so it keeps the size. With what is it padded? With minus infinity, because zeros
# would win against negative numbers (trap 6). After a ReLU nothing is negative and zeros would do, until somebody
# moves the ReLU.
#
# ## What each path sees
#
# Lesson 7 found the pixels that a number depends on by its derivative. Here is the same for the four paths of a block:
# which positions of the block's input does the output at the middle depend on?

# %%
from data import fit_to, load

entry = jaxnets.MODELS["inception"]
digits, _ = fit_to(load("digits"), entry.input_shape)
image = (digits.train.inputs[3:4] / np.float32(255) - digits.mean) / digits.std
model = entry.build(rows=jaxnets.models.inception.BLOCKS[:1])  # the first block alone
variables = jax.jit(model.init)(jax.random.key(0), image)
_, found = model.apply(variables, image, capture_intermediates=True)
captured = found["intermediates"]
for name in ("stem", "blocks_0"):
    print(f"{name:9}", captured[name]["__call__"][0].shape)

c1, _, c3, _, c5, c_pool = model.rows[0]
ends = np.cumsum((c1, c3, c5, c_pool))
block = jaxnets.models.inception.InceptionBlock(model.width, model.rows[0], 2)
of_block = {kind: tree["blocks_0"] for kind, tree in variables.items()}
noise = np.random.default_rng(0).normal(size=(1, 9, 9, model.width)).astype(np.float32)


def middle(x):
    """Return the block's output at the middle, (channels,)."""
    output: Any = block.apply(of_block, x)
    return output[0, 4, 4]


derivative = jax.jit(jax.jacobian(middle))(noise)  # (channels out, 1, 9, 9, channels in)
influence = np.split(np.asarray(abs(derivative).sum(axis=-1)[:, 0]), ends[:-1])  # of each path, (its channels, 9, 9)
PATHS = ("1x1", "3x3", "5x5", "max-pool")
for path, values in zip(PATHS, influence, strict=True):
    rows, columns = np.nonzero(values.sum(axis=0))
    print(f"{path:9}{len(values):3} channels see {np.ptp(columns) + 1} x {np.ptp(rows) + 1} positions")

# %% tags=["remove-input"]
figure = Figure(figsize=(7.5, 3.6), layout="constrained")
above, below = figure.subplots(2, 5)
above[0].imshow(digits.train.inputs[3])
above[0].set_title("input", fontsize=10)
below[0].axis("off")
outputs = np.split(captured["blocks_0"]["__call__"][0][0], ends[:-1], axis=-1)
for path, output, values, upper, lower in zip(PATHS, outputs, influence, above[1:], below[1:], strict=True):
    upper.imshow(output[..., output.std(axis=(0, 1)).argmax()], cmap="gray")
    upper.set_title(path, fontsize=10)
    lower.imshow(values.mean(axis=0), cmap="Blues", vmin=0)
for axes in (*above, *below):
    axes.set(xticks=[], yticks=[])
above[1].set_ylabel("output", fontsize=9)
below[1].set_ylabel("sees", fontsize=9)
picture(
    figure,
    "Above: a digit, and what each path of the first block makes of it. Below: the positions that the middle of the "
    "output depends on: 1, 3 by 3, 5 by 5, and 3 by 3",
)

# %% [markdown]
# The upper row is the channel of each path that varies most, with random weights. The lower row is the derivative: the
# darker, the more the output in the middle depends on this position. So a block looks at three scales at once, and
# four blocks, one after the other, at many more.
#
# ## The whole network

# %% tags=["remove-input"]
side_by_side(jaxnets.models.inception.Inception, torchnets.models.inception.Inception)

# %% [markdown]
# The end is `global_average_pool`, the mean over all positions, and one small linear layer. VGG-16 has 103 million
# weights in that place; this network has 3,850, and 483,650 in all. It also takes images of any size, without an
# adaptive pool.
#
# ## Parity, and a famous mistake
#
# One block is enough to check, the other three are the same code. First the right one:

# %%
import torch

import parity

torch.manual_seed(0)
channels = (4, 2, 4, 2, 4, 4)
net = torchnets.models.inception.InceptionBlock(4, channels, 2)
inputs = np.random.default_rng(0).normal(size=(3, 6, 6, 4))
report = parity.check(net, jaxnets.models.inception.InceptionBlock(4, channels, 2), inputs)
for result in report.results:
    print(f"{result.check:22}{result.error:9.1e}  bound {result.bound:.0e}")
assert report.ok

# %% [markdown]
# A widely read tutorial shows an Inception network in PyTorch and translates it to Flax, line by line. In the
# translation the path of the pool computes its max-pool, and the next line overwrites the result with a convolution of
# the *input*. The pool is dead code. Here is the same mistake:


# %%
class DeadPool(jaxnets.models.inception.InceptionBlock):
    """The block with the tutorial's mistake."""

    def __call__(self, x, *, train=False):
        """Return the paths' channels."""
        outputs = []
        for path in (self.path1, self.path3, self.path5):
            y = x
            for unit in path:
                y = unit(y, train=train)
            outputs.append(y)
        pool, unit = self.path_pool
        pooled = pool(x)
        pooled = unit(x, train=train)
        return jnp.concatenate([*outputs, pooled], axis=-1)


wrong = DeadPool(4, channels, 2)
right = jaxnets.models.inception.InceptionBlock(4, channels, 2)
shapes = [jax.tree.map(jnp.shape, block.init(jax.random.key(0), inputs)) for block in (right, wrong)]
print("same shapes, same number of weights:", shapes[0] == shapes[1])

# %% [markdown]
# Such a network trains, and about as well as the right one: a path without a pool is not a bad path. Nobody who looks
# at the loss will ever find it. The weights of the PyTorch network, however, are worthless in it. Here is how `parity`
# finds it. It gives both sides the same weights and inputs, gives each layer of the Flax side what PyTorch gives its
# own, and compares layer by layer:

# %%
report = parity.check(net, wrong, inputs, same_names=True, fail_fast=True)
failure = report.failures[0]
print(failure.check, "fails at", failure.layer)
print(failure.diagnosis)
assert failure.layer == "path_pool_1"
assert "between the input and path_pool_1" in failure.diagnosis

# %% [markdown]
# Read it from the left. `path_pool_1` is the unit after the pool, and it is right: given PyTorch's input, it returns
# PyTorch's output. But its *input* is off, and a search among the usual small operations finds how each side made it:
# PyTorch by a max-pool, Flax by nothing (trap 10: dead code).
#
# `same_names=True` says that the layers are called alike on both sides, and `fail_fast=True` stops at the first check
# that fails. [Lesson 11](11_traps.py) is about more mistakes of this kind, and [lesson 13](13_port_your_own.py) about
# finding them in your own port.
#
# ## Exercises
#
# `from exercises import check`, then `check(8, 1, my_function)`.
#
# 1. **Count.** Write `block_parameters(n, channels)`: the parameters of a block with `n` input channels and the six
#    numbers of `channels`. The convolutions have no bias; the BatchNorm of each unit has a scale and a bias for each
#    channel.
# 2. **A convolution without a convolution.** Write `one_by_one(weight, bias, x)` in numpy: what PyTorch's
#    `Conv2d(inputs, outputs, 1)` computes for channels-*last* images x (N, H, W, inputs). Its weight is
#    (outputs, inputs, 1, 1).
# 3. **Padding a max-pool.** Write `max_pool_3(x)` in numpy: a max-pool of three along one axis, (N, length) to
#    (N, length), stride 1, padding 1. Think of negative numbers.

# %% tags=["remove-input"]
solutions("08_inception")

# %% [markdown]
# Next: [sound](09_sound.py), with the same blocks and one axis less.
