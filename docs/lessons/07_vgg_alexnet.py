# %% [markdown]
# # 7. VGG and AlexNet
#
# **You will be able to** read a network that is written as a table; say where its weights are and where its work is;
# compute how far a pixel's influence reaches; explain why VGG has nothing but 3x3 convolutions, and why a deep network
# depends on its first random weights; and port the two layers of VGG that Flax does not have.
#
# **You need** lessons [2](02_functions.py) to [5](05_convolutions.py): a network as a function, batch normalization,
# convolutions, max-pooling.
#
# ## AlexNet is a table
#
# AlexNet won the ImageNet challenge of 2012 and started deep learning as we know it. It is five convolutions and three
# linear layers; this is its author's version of 2014, which torchvision has, too. There is nothing to compute in such
# a network but its list of layers, so the list is data: a row for each convolution, in the order channels, kernel,
# stride, padding.

# %%
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxnets.models.alexnet
import torchnets.models.alexnet

for row in jaxnets.models.alexnet.IMAGENET:
    print(row)

# %% [markdown]
# The module turns rows into layers, and its variants are other rows: `CIFAR` has a first convolution of 5x5 with
# stride 1, for images of 32x32, which stride 4 would leave with hardly a pixel.

# %% tags=["remove-input"]
from show import picture, side_by_side, solutions, source

side_by_side(jaxnets.models.alexnet.AlexNet, torchnets.models.alexnet.AlexNet)

# %% [markdown]
# Read the two columns line by line. Three differences are left, and each one is a difference between the frameworks:
#
# - PyTorch's layers are made in `__init__` and called in `forward`. Flax's fields are declared above, and the layers
#   that they lead to are made in `setup`.
# - `nn.Sequential` is a module of PyTorch. Flax has one, too, but dropout must be told whether it is in training, and
#   Flax's `Sequential` passes no such argument on. The function `sequential` does.
# - PyTorch's images are (N, C, H, W), Flax's (N, H, W, C).
#
# ## Weights and work
#
# VGG, of 2014, has the same plan: convolutions, then three linear layers. Its idea is to have one kind of convolution
# only, 3x3, and more of them. VGG-16 has 13 convolutions and 138 million weights. Where are they?
#
# A convolution uses each of its weights at every position of the image. A linear layer uses each weight once. So the
# layers with many weights need not be those with much work:

# %%
import jaxnets
from jaxnets.model_summary import summarize

layers = [layer for layer in summarize(jaxnets.MODELS["vgg16"]) if layer.parameters]
for layer in (layers[0], layers[1], layers[12], layers[13], layers[15]):
    print(f"{layer.name:14}{layer.shape!s:16}{layer.parameters:12,} weights{layer.flops / 1e9:8.2f} GFLOP")
weights, work = (sum(getattr(layer, name) for layer in layers) for name in ("parameters", "flops"))
linear = sum(layer.parameters for layer in layers[13:]) / weights
print(f"in total {weights:,} weights, {work / 1e9:.1f} GFLOP; the linear layers have {linear:.0%} of the weights")

# %% tags=["remove-input"]
from matplotlib.figure import Figure

figure = Figure(figsize=(7.5, 3.4), layout="constrained")
axes = figure.subplots()
places = np.arange(len(layers))
axes.bar(places - 0.2, [100 * layer.parameters / weights for layer in layers], 0.4, color="#0072B2", label="weights")
axes.bar(places + 0.2, [100 * layer.flops / work for layer in layers], 0.4, color="#E69F00", label="work")
axes.set_xticks(
    places, [f"conv {at + 1}" for at in range(13)] + ["linear 1", "linear 2", "linear 3"], rotation=45, ha="right"
)
axes.set(ylabel="share of the total, %", title="VGG-16, layer by layer")
axes.legend()
picture(
    figure, "Bars for each layer of VGG-16: the convolutions have the work, the first linear layer has the weights"
)

# %% [markdown]
# A FLOP is one multiplication or one addition. One image takes 31 billion of them, nearly all in the convolutions, and
# three quarters of all weights are in the first linear layer: it joins 7 x 7 x 512 numbers to 4,096. The networks of
# the next lessons replace it by the mean over all positions, and need no such layer.
#
# ## Why 3x3?
#
# The **receptive field** of a number in the network is the part of the image that it depends on. A 5x5 convolution
# sees 5x5 pixels. Two 3x3 convolutions, one after the other, see the same:
#
# | | sees | weights for $C$ channels | ReLUs |
# | --- | --- | --- | --- |
# | one 5x5 | 5x5 | $25\,C^2$ | 1 |
# | two 3x3 | 5x5 | $18\,C^2$ | 2 |
# | three 3x3 | 7x7 | $27\,C^2$ instead of $49\,C^2$ | 3 |
#
# Fewer weights, less work, and more nonlinear functions in between. You need not believe the second column. A number
# depends on a pixel if its derivative by that pixel is not zero, and `jax.grad` gives the derivative by all pixels at
# once:

# %%
from jaxnets.models.vgg import VGG

image = jnp.asarray(np.random.default_rng(0).normal(size=(1, 32, 32, 3)), jnp.float32)


def draw(model, deviation):
    """Return random variables of a model; `deviation(shape)` is the standard deviation of a kernel. Biases are 0."""
    rng, shapes = np.random.default_rng(0), jax.eval_shape(model.init, jax.random.key(0), image)

    def one(leaf):
        scale = deviation(leaf.shape) if len(leaf.shape) > 1 else 0
        return np.float32(scale * rng.normal(size=leaf.shape))

    return jax.tree.map(one, shapes)


def seen(depth):
    """Return the pixels (32, 32) that the middle of a row of 3x3 convolutions depends on."""
    model = VGG(depths=(depth,), width=8, hidden=8)
    variables = draw(model, lambda _: 0.3)

    @jax.jit
    def middle(image):
        found: Any = model.apply(variables, image, capture_intermediates=True)[1]
        (output,) = found["intermediates"][f"features_{2 * depth - 2}"]["__call__"]  # before its ReLU
        return output[0, 16, 16].sum()

    return np.asarray(abs(jax.grad(middle)(image)).sum(axis=-1)[0] > 0)


for depth in (1, 2, 3):
    pixels = seen(depth)
    print(f"{depth} convolutions of 3x3 see {pixels.any(0).sum()} x {pixels.any(1).sum()} pixels")
assert seen(3).any(0).sum() == 7

# %% [markdown]
# ## VGG

# %% tags=["remove-input"]
import torchnets.models.vgg

side_by_side(VGG, torchnets.models.vgg.VGG)

# %% [markdown]
# The names of the layers are `features.0`, `features.1` and so on. They are torchvision's, and that is on purpose: a
# file of published weights fits if names and shapes are equal, and only then.
#
# ### The pool that Flax does not have
#
# Between convolutions and linear layers stands `adaptive_avg_pool2d(x, 7)`. It makes 7x7 positions of *any* number of
# positions, so that the linear layer fits images of other sizes. Flax has no such layer (trap 7 in
# [the list of traps](../traps.md)). What does it compute where 7 does not divide the size? The windows overlap. Each
# output is a mean over its window, so pooling is a product with a matrix of shares:

# %% tags=["remove-input"]
from jaxnets.layers import _shares, adaptive_average_pool

source(adaptive_average_pool)
source(_shares)

# %%
from jaxnets.layers import _shares

print(np.round(_shares(5, 3), 2))

# %% [markdown]
# Five positions become three. The windows are 0 to 1, 1 to 3 and 3 to 4; position 1 and position 3 count twice.
#
# ### The order in which numbers are flattened
#
# The first linear layer is given 7 x 7 x 512 numbers in a row. In which order? PyTorch's `flatten` goes through the
# channels first, (C, H, W). A plain `reshape` in Flax would go through (H, W, C). Both are equally good for a network
# that is trained from the start, and with carried weights one of them is nonsense (trap 8). No error tells:

# %%
from jaxnets.layers import flatten

x = np.arange(8.0).reshape(1, 2, 2, 2)  # (N, H, W, C)
print("reshape:", x.reshape(1, -1)[0])
print("flatten:", np.asarray(flatten(jnp.asarray(x)))[0])

# %% [markdown]
# ## Nineteen layers, and the first random weights
#
# Deep networks were long thought impossible to train. Here is one reason. Every layer multiplies by random weights. If
# they are a little too small, the numbers shrink a little in each layer, and after nineteen layers nothing is left of
# the image; the gradient on the way back fares no better. The picture shows the standard deviation after each
# convolution of VGG-19, for three ways to draw the weights.

# %%
model = jaxnets.MODELS["vgg19"].build(width=16, hidden=16, num_classes=10)


@jax.jit
def convolutions(variables):
    """Return the standard deviation after each convolution."""
    _, found = model.apply(variables, image, capture_intermediates=True)
    names = sorted((name for name in found["intermediates"] if "features" in name), key=lambda name: int(name[9:]))
    return [found["intermediates"][name]["__call__"][0].std() for name in names]


def deviations(scale):
    """Return the deviations for weights that are drawn with `scale(inputs, outputs)`."""
    variables = draw(model, lambda shape: scale(np.prod(shape[:-1]), np.prod(shape[:-2]) * shape[-1]))
    return [float(value) for value in convolutions(variables)]


drawn = {
    "He: sqrt(2 / outputs)": deviations(lambda _, outputs: (2 / outputs) ** 0.5),
    "PyTorch's default: sqrt(1 / (3 inputs))": deviations(lambda inputs, _: (1 / 3 / inputs) ** 0.5),
    "0.01 everywhere": deviations(lambda *_: 0.01),
}
for name, values in drawn.items():
    print(f"{name:42} first {values[0]:.2f}, last {values[-1]:.1e}")

# %% tags=["remove-input"]
figure = Figure(figsize=(6.5, 3.4), layout="constrained")
axes = figure.subplots()
for (name, values), color, marker in zip(drawn.items(), ("#0072B2", "#E69F00", "#D55E00"), "os^", strict=True):
    axes.plot(range(1, len(values) + 1), values, color=color, marker=marker, label=name)
axes.set(yscale="log", xlabel="convolution", ylabel="standard deviation", title="VGG-19: what is left of the image")
axes.set_xticks(range(1, 17, 3))
axes.grid(alpha=0.3)
axes.legend()
picture(figure, "Standard deviation after each of 16 convolutions, log axis: He's nearly stays, the others fade")

# %% [markdown]
# He's weights nearly keep the size. The factor 2 makes up for the ReLU, which sets half of the numbers to zero; what
# is lost is lost at the edges, since a 3x3 convolution of 2x2 positions is given more zeros than numbers. That is why
# `conv2d(..., init=he_normal)` stands in the files above, on both sides: it is a part of the network. PyTorch's
# default loses another factor of about 2.4 in each layer. For LeNet-5 that does not matter. For VGG-19 it is a factor
# of some hundred thousand. The variants `vgg11_bn` to `vgg19_bn` normalize after each convolution and forgive any of
# the three.
#
# The frameworks' own defaults differ, by the way: Flax draws from a normal distribution, sets biases to zero, and
# loses less (trap 17). Two trainings of "the same" network can differ for no other reason.
#
# ## Parity
#
# VGG-16 has too many weights to check every number in float64 in a lesson. Two blocks of four channels have the same
# kinds of layers, and the same code makes them:

# %%
import torch

import parity

torch.manual_seed(0)
options = {"depths": (1, 2), "width": 4, "hidden": 16, "num_classes": 10}
inputs = np.random.default_rng(0).normal(size=(4, 20, 20, 3))  # 20 is 5 after two pools, and 5 becomes 7
report = parity.check(torchnets.models.vgg.VGG(**options), VGG(**options), inputs)
for result in report.results:
    print(f"{result.check:22}{result.error:9.1e}  bound {result.bound:.0e}")
assert report.ok

# %% [markdown]
# `python -m parity check vgg16_bn alexnet` checks the registered networks, with shapes and counts at full size, and
# `python -m parity torchvision` compares them with torchvision's own modules ([parity](../parity.md)).
#
# ## Exercises
#
# `from exercises import check`, then `check(7, 1, my_function)`.
#
# 1. **First weights.** Write `he_kernel(rng, k, inputs, outputs)`: a kernel in Flax's layout of normally distributed
#    numbers of `rng`, a generator of numpy, with the deviation that keeps VGG's numbers alive, $\sqrt{2 / n}$. Here
#    $n$ is the number of outputs that an input takes part in, $k^2$ times the channels out.
# 2. **Count.** Write `classifier_parameters(channels, size, hidden, classes)`: weights and biases of the three linear
#    layers after `size` x `size` positions. VGG-16 has 512, 7, 4096, 1000; is it really 89% of 138,357,544?
# 3. **Adaptive pooling.** Write `shares(length, size)` without looking above: output $i$ is the mean over the
#    positions from $\lfloor i L / S \rfloor$ to before $\lceil (i + 1) L / S \rceil$.

# %% tags=["remove-input"]
solutions("07_vgg_alexnet")

# %% [markdown]
# Next: [Inception](08_inception.py), which does with far fewer weights.
