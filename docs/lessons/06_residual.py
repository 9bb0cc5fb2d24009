# %% [markdown]
# # 6. Residual connections
#
# **You will be able to** show why a plain deep network does not learn, and why adding the input to the output of a
# layer cures it; read QuizDNN and ResNet-18 in both frameworks and count their parameters; and find two mistakes in
# residual blocks that no shape and no parameter count gives away.
#
# **You need** [lesson 2](02_functions.py) for functions of trees, [lesson 3](03_training_step.py) for BatchNorm and
# [lesson 5](05_convolutions.py) for convolutions.
#
# ## Deeper is not better
#
# More layers can express more, so a deeper network should be at least as good. It is not. Take MLPs of 30 equal
# layers, with the initial weights that PyTorch draws, and look at the gradient of each layer before any training.
# The plain one computes $x \leftarrow f(x)$, the residual one $x \leftarrow x + f(x)$.

# %%
import jax
import jax.numpy as jnp
import numpy as np

import jaxnets
from data import Loader, load

digits = load("digits")
loader = Loader(digits.train, digits.mean, digits.std, batch_size=64, seed=0)
batch = next(loader.epoch(0))
DEPTH, WIDTH = 30, 64  # 64 pixels, so the image itself is the first x


def init(seed):
    """Return `DEPTH` layers in one array each, and the head; PyTorch's default weights."""
    keys, bound = jax.random.split(jax.random.key(seed), 3), WIDTH**-0.5
    return {
        "layers": jax.random.uniform(keys[0], (DEPTH, WIDTH, WIDTH), minval=-bound, maxval=bound),
        "biases": jax.random.uniform(keys[1], (DEPTH, WIDTH), minval=-bound, maxval=bound),
        "head": jax.random.uniform(keys[2], (WIDTH, 10), minval=-bound, maxval=bound),
    }


def loss(params, batch, residual):
    """Return the cross-entropy of a plain or a residual MLP."""
    x = batch.inputs.reshape(len(batch.inputs), -1)

    def layer(x, weights):
        kernel, bias = weights
        y = jax.nn.relu(x) @ kernel + bias
        return x + y if residual else y, None

    x, _ = jax.lax.scan(layer, x, (params["layers"], params["biases"]))
    log_probs = jax.nn.log_softmax(x @ params["head"])
    return -log_probs[jnp.arange(len(x)), batch.labels].mean()


# %% [markdown]
# Two notes on the code. The 30 kernels are one array (30, 64, 64), and `jax.lax.scan` takes one after the other,
# like a `for` loop that is compiled once instead of 30 times. And `residual` is a Python value: it decides what is
# written down when the function is traced, so `jit` must know that it is no array (`static_argnames`).

# %%
gradient = jax.jit(jax.value_and_grad(loss), static_argnames="residual")
params, norms = init(0), {}
for name, residual in (("plain", False), ("residual", True)):
    _, grads = gradient(params, batch, residual=residual)
    norms[name] = np.linalg.norm(grads["layers"], axis=(1, 2))
    print(f"{name:9} first layer {norms[name][0]:.1e}, last layer {norms[name][-1]:.1e}")

# %% [markdown]
# In the plain network the gradient shrinks by about the same factor in every layer, on its way back from the loss.
# What arrives at the first layer is nothing. The reason is the chain rule: the derivative of 30 layers is a
# *product* of 30 matrices. In the residual network each factor is $1 + f'$ instead of $f'$, and a product of such
# factors always contains the way through all the ones. So all its layers get gradients of the same size. Training
# says the same:

# %%
curves = {}
for name, residual in (("plain", False), ("residual", True)):
    params, values = init(0), []
    for epoch in range(5):
        for each in loader.epoch(epoch):
            value, grads = gradient(params, each, residual=residual)
            params = jax.tree.map(lambda p, g: p - 0.01 * g, params, grads)
            values.append(float(value))
    curves[name] = values
    print(f"{name:9} loss {values[0]:.2f} -> {np.mean(values[-10:]):.2f}")
assert np.mean(curves["plain"][-10:]) > 2 > 1 > np.mean(curves["residual"][-10:])

# %% tags=["remove-input"]
from matplotlib.figure import Figure
from show import picture, side_by_side, solutions

figure = Figure(figsize=(7.5, 3), layout="constrained")
left, right = figure.subplots(1, 2)
for name, color, marker in (("plain", "#D55E00", "s"), ("residual", "#0072B2", "o")):
    left.semilogy(range(1, DEPTH + 1), norms[name], marker, color=color, markersize=4, label=name)
    right.plot(curves[name], color=color, label=name)
left.set(xlabel="layer", ylabel="norm of the gradient", title="before the training")
right.set(xlabel="step", ylabel="loss", title="training", ylim=(0, 6))
left.legend()
right.legend()
picture(
    figure, "Left: the plain network's gradient vanishes towards the first layer. Right: only the residual one learns"
)

# %% [markdown]
# Better initial weights and BatchNorm also help against this, and real networks use all three.
#
# ## QuizDNN: everything is added up
#
# QuizDNN comes from an exercise on CIFAR-10 and takes the idea literally: within a group, the input of each unit is
# the *sum* of all that came before.

# %% tags=["remove-input"]
import jaxnets.models.quizdnn
import torchnets.models.quizdnn

side_by_side(jaxnets.models.quizdnn.QuizDNN, torchnets.models.quizdnn.QuizDNN)

# %% [markdown]
# A sum needs equal shapes, so all units have the same width, padding 1 keeps the size, and sums stop at a pooling. The
# count is short:

# %%
first, others = (3 * 3 * 3 + 1) * 64, 8 * (3 * 3 * 64 + 1) * 64
norms_of_nine, head = 9 * 2 * 64, (64 + 1) * 10  # a BatchNorm has a scale and a bias per channel
print(f"{first:,} + {others:,} + {norms_of_nine:,} + {head:,} = {first + others + norms_of_nine + head:,}")
assert first + others + norms_of_nine + head == jaxnets.MODELS["quizdnn"].num_params == 299_018

# %% [markdown]
# ## ResNet: blocks with a shortcut
#
# He et al. (2015) made this the way to build deep networks. A *basic block* is two convolutions, and the input is
# added before the last ReLU:

# %% tags=["remove-input"]
import jaxnets.models.resnet
import torchnets.models.resnet

side_by_side(jaxnets.models.resnet.BasicBlock, torchnets.models.resnet.BasicBlock)

# %% [markdown]
# From stage to stage the image is halved (stride 2) and the channels are doubled, so the input no longer has the shape
# of the output. There the shortcut is a 1x1 convolution with the same stride, `downsample`. ResNet-18 for small images
# is a stem, eight blocks in four stages, the mean over all positions, and a linear layer. `jax.eval_shape` computes
# shapes without computing numbers, so even a network that does not fit into memory can be counted:

# %%
resnet = jaxnets.build("resnet18_cifar")
shapes = jax.eval_shape(resnet.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))["params"]
for name, tree in shapes.items():
    print(f"{name:10}{sum(leaf.size for leaf in jax.tree.leaves(tree)):12,}")
total = sum(leaf.size for leaf in jax.tree.leaves(shapes))
print(f"all       {total:12,}")
assert total == 11_173_962

# %% [markdown]
# ## Parity, and two mistakes that shapes do not show
#
# First the right networks, in small: QuizDNN with 8 channels, and a basic block with a shortcut. BatchNorm's
# statistics are compared, too.

# %%
import torch

import parity
import torchnets

rng = np.random.default_rng(0)
net, model = torchnets.build("quizdnn", width=8), jaxnets.build("quizdnn", width=8)
report = parity.check(net, model, rng.normal(size=(4, 8, 8, 3)))
print(f"QuizDNN: {'the same' if report.ok else 'different'}, worst of {len(report.results)} checks", end=" ")
print(f"{max(result.error for result in report.results if 'float32' not in result.check):.0e}")
assert report.ok

# %% [markdown]
# Mistake one: the input is added *after* the ReLU. Such a network trains, too.

# %%
from flax import linen as nn

from jaxnets.layers import BatchNorm, conv2d, relu


class Block(nn.Module):
    stride: int = 1
    padding: str | int = 1
    add_first: bool = True

    def setup(self):
        self.conv1 = nn.Conv(4, (3, 3), self.stride, padding=self.padding, use_bias=False)
        self.bn1 = BatchNorm(4)
        self.conv2 = conv2d(4, 4, 3, padding=1, bias=False)
        self.bn2 = BatchNorm(4)

    def __call__(self, x, *, train=False):
        y = relu(self.bn1(self.conv1(x), train=train))
        y = self.bn2(self.conv2(y), train=train)
        x = x[:, :: self.stride, :: self.stride]  # a shortcut without weights, so that the block stays small
        return relu(x + y) if self.add_first else x + relu(y)


class TorchBlock(torch.nn.Module):
    def __init__(self, stride=1):
        super().__init__()
        self.stride = stride
        self.conv1 = torch.nn.Conv2d(4, 4, 3, stride, padding=1, bias=False)
        self.bn1 = torch.nn.BatchNorm2d(4)
        self.conv2 = torch.nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.bn2 = torch.nn.BatchNorm2d(4)

    def forward(self, x):
        y = torch.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return torch.relu(x[:, :, :: self.stride, :: self.stride] + y)


x = rng.normal(size=(4, 8, 8, 4))
assert parity.check(TorchBlock(), Block(), x).ok
report = parity.check(TorchBlock(), Block(add_first=False), x, fail_fast=True)
print(report.failures[0].diagnosis)
assert not report.ok

# %% [markdown]
# Mistake two is the best-known one between the frameworks. Flax's default padding, `"SAME"`, gives the right size.
# With stride 2 it pads one zero *at the end* where PyTorch's `padding=1` pads one on both sides, so every window is
# off by a pixel:

# %%
report = parity.check(TorchBlock(stride=2), Block(stride=2, padding="SAME"), x, fail_fast=True)
print(report.failures[0].diagnosis)
assert not report.ok
assert parity.check(TorchBlock(stride=2), Block(stride=2), x).ok

# %% [markdown]
# Such a network can be trained, and nobody notices. The mistake shows only when weights from PyTorch are loaded: the
# accuracy is lower than it should be, which looks like bad luck.
#
# ## Exercises
#
# `from exercises import check`, then `check(6, 1, my_function)`.
#
# 1. **Count a block.** Write `block_parameters(c_in, c_out)`: the parameters of a `BasicBlock`. Its convolutions
#    have no biases; the shortcut has a convolution and a BatchNorm if the channels differ.
# 2. **Sums.** Write `densely(units, x)`: each unit is a function and gets the sum of `x` and all outputs before it;
#    the result is the output of the last.
# 3. **A second chance.** Write `rezero(f)`: a function `(params, x)` that computes `x + a * f(params["f"], x)`, with
#    the number `a = params["a"]`. At `a = 0` it is the identity; then the gradient of `a` must not be 0.
#    (Bachlechner et al., 2020, train very deep networks this way without BatchNorm.)

# %% tags=["remove-input"]
solutions("06_residual")

# %% [markdown]
# Next: [VGG and AlexNet](07_vgg_alexnet.py), deep without shortcuts.
