# %% [markdown]
# # 8. Inception
#
# **You will be able to** say what a 1x1 convolution computes and what it saves; read an Inception block in both
# frameworks; explain why a joined axis is the last one in Flax and the second one in PyTorch; and find a mistake that
# neither the shapes, nor the number of weights, nor the accuracy show.
#
# **You need** lessons [5](05_convolutions.py) and [7](07_vgg_alexnet.py).
#
# ## Which kernel size?
#
# VGG answers: 3x3, always. Inception answers: all of them. Some patterns are small and some are large, so a block
# looks at the same input through 1x1, 3x3 and 5x5 convolutions and a max-pool, side by side, and joins the results
# along the channels. The next layer chooses.
#
# A 5x5 convolution of many channels is expensive. Inception's second idea makes it cheap: a 1x1 convolution in front,
# which reduces the channels.
#
# ## The 1x1 convolution is a linear layer
#
# A 1x1 convolution looks at one position only. It has no neighbors, so all that it does is to multiply the channels of
# each pixel by one matrix, the same for all pixels:

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
print("kernel:", kernel.shape, "matrix:", kernel[0, 0].shape)
by_hand = x @ kernel[0, 0] + bias
output: Any = layer.apply(variables, x)
assert np.allclose(output, by_hand, atol=1e-5)

# %% [markdown]
# Now the saving. A convolution multiplies (kernel size)² x inputs x outputs numbers at each position. From 192 to 32
# channels, 5x5, straight away, or by way of 16:

# %%
straight = 25 * 192 * 32
reduced = 192 * 16 + 25 * 16 * 32
print(f"straight {straight:,}, reduced {reduced:,} multiplications a position: {straight / reduced:.0f} times fewer")

# %% [markdown]
# ## The block
#
# Each path is a list of *units*: convolution, batch normalization, ReLU. The six numbers in `channels` are the widths:
# of the 1x1; of the reduction and the 3x3; of the reduction and the 5x5; and of the 1x1 after the pool.

# %%
import jaxnets.models.inception
import torchnets.models.inception

print(jaxnets.models.inception.BLOCKS[0])

# %% tags=["remove-input"]
from show import picture, side_by_side, solutions

side_by_side(jaxnets.models.inception.InceptionBlock, torchnets.models.inception.InceptionBlock)

# %% [markdown]
# Look at the last lines. The paths are joined along the *channels*, which are the last axis in Flax (`axis=-1`) and
# the second in PyTorch (`dim=1`). Joined along the wrong one, the shapes of different paths would hardly fit, so this
# mistake fails loudly. Joined in another *order*, they fit, and the network is another one.
#
# The pool has stride 1 and padding 1, so it keeps the size. With what is it padded? With minus infinity, because zeros
# would win against negative numbers (trap 6). After a ReLU nothing is negative and zeros would do, until somebody
# moves the ReLU.
#
# Here is what the four paths of the first block see in a digit. The weights are random, and of each path only
# the channel is shown that varies most.

# %%
from data import fit_to, load

entry = jaxnets.MODELS["inception"]
digits, _ = fit_to(load("digits"), entry.input_shape)
image = (digits.train.inputs[3:4] / np.float32(255) - digits.mean) / digits.std
model = entry.build()
variables = model.init(jax.random.key(0), image)
logits, found = model.apply(variables, image, capture_intermediates=True)
captured = found["intermediates"]
block = captured["blocks_0"]["__call__"][0]
print("stem", captured["stem"]["__call__"][0].shape, "block", block.shape, "logits", logits.shape)

# %% tags=["remove-input"]
from matplotlib.figure import Figure

first = entry.build().rows[0]
edges = np.cumsum((0, first[0], first[2], first[4], first[5]))
names = ("1x1", "3x3", "5x5", "max-pool")
figure = Figure(figsize=(7.5, 2.2), layout="constrained")
axes = figure.subplots(1, 5)
axes[0].imshow(digits.train.inputs[3])
axes[0].set_title("input", fontsize=10)
for one, start, end, name in zip(axes[1:], edges[:-1], edges[1:], names, strict=True):
    channel = start + int(block[0, :, :, start:end].std(axis=(0, 1)).argmax())
    one.imshow(block[0, :, :, channel], cmap="gray")
    one.set_title(f"{name}\nchannels {start}-{end - 1}", fontsize=10)
for one in axes:
    one.set(xticks=[], yticks=[])
picture(
    figure, "A digit, and one channel of each of the four paths of the first block: finer and coarser versions of it"
)

# %% [markdown]
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
# the *input*. The pool is dead code. Let us make the same mistake:


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
# finds it. It gives both sides the same weights and inputs and walks along the layers until the numbers part.

# %%
report = parity.check(net, wrong, inputs, same_names=True, fail_fast=True)
failure = report.failures[0]
print(failure.check, "fails at", failure.layer)
print(failure.diagnosis)
assert failure.layer == "path_pool_1"

# %% [markdown]
# `path_pool_1` is the unit after the pool. Its *input* is off: the unit is right, and what should stand before it is
# not there. `same_names=True` says that the layers are called alike on both sides, and `fail_fast=True` stops at the
# first check that fails. [Lesson 11](11_traps.py) is about more mistakes of this kind, and
# [lesson 13](13_port_your_own.py) about finding them in your own port.
#
# ## Exercises
#
# `from exercises import check`, then `check(8, 1, my_function)`.
#
# 1. **Count.** Write `block_weights(n, channels)`: the weights of the convolutions of a block with `n` input channels
#    and the six numbers of `channels`. The convolutions have no bias.
# 2. **A convolution without a convolution.** Write `one_by_one(weight, bias, x)` in numpy: what PyTorch's
#    `Conv2d(inputs, outputs, 1)` computes for channels-*last* images x (N, H, W, inputs). Its weight is
#    (outputs, inputs, 1, 1).
# 3. **Padding a max-pool.** Write `max_pool_3(x)` in numpy: a max-pool of three along one axis, (N, length) to
#    (N, length), stride 1, padding 1. Think of negative numbers.

# %% tags=["remove-input"]
solutions("08_inception")

# %% [markdown]
# Next: [sound](09_sound.py), with the same blocks and one axis less.
