# %% [markdown]
# # 4. LeNet-5, counted by hand
#
# **You will be able to** compute the shape and the number of parameters of every layer of a convolutional network with
# a pencil; say what a convolution saves against a linear layer; prove that two implementations are the same network,
# and read the report if they are not; and test whether a regularization helps, instead of believing it.
#
# **You need** [lesson 3](03_training_step.py): the training step.
#
# ## The network
#
# LeNet-5 (LeCun et al., 1998) read the digits on bank checks. A *convolution* slides a small kernel over the image and
# computes, at each position, how well the image fits the kernel there. *Pooling* then keeps the largest value of each
# 2x2 square. The linear layers at the end are those of lesson 2.

# %% tags=["remove-input"]
from show import picture, side_by_side, solutions

import jaxnets.models.lenet5
import torchnets.models.lenet5

side_by_side(jaxnets.models.lenet5.LeNet5, torchnets.models.lenet5.LeNet5)

# %% [markdown]
# ## Shapes
#
# Of $n$ pixels in a row, a kernel of size $k$ takes $n - k + 1$ positions. So a 5x5 kernel makes 28x28 of a 32x32
# image. Pooling by 2 halves that. The number of channels is whatever the layer is asked for. The comments in the
# source say the rest:
#
# | layer | output (H, W, C) | why |
# | --- | --- | --- |
# | input | 32, 32, 1 | |
# | `conv1`, ReLU | 28, 28, 6 | 32 - 5 + 1 |
# | pooling | 14, 14, 6 | 28 / 2 |
# | `conv2`, ReLU | 10, 10, 16 | 14 - 5 + 1 |
# | pooling | 5, 5, 16 | 10 / 2 |
# | `conv3`, ReLU | 1, 1, 120 | 5 - 5 + 1 |
# | `flatten` | 120 | 1 · 1 · 120 |
# | `fc1`, ReLU | 84 | |
# | `fc2` | 10 | one logit per class |
#
# Do not trust a table. With `capture_intermediates`, Flax returns the output of each layer, too:

# %%
import jax
import numpy as np
import torch

import jaxnets
import parity
import torchnets
from data import Loader, Split, fit_to, load
from torchnets.tensors import as_tensor

dataset, _ = fit_to(load("digits"), (32, 32, 1))
loader = Loader(dataset.train, dataset.mean, dataset.std, batch_size=32, seed=0)
batch = next(loader.epoch(0))

model = jaxnets.build("lenet5")
variables = model.init(jax.random.key(0), batch.inputs)
_, captured = model.apply(variables, batch.inputs, capture_intermediates=True)
for name, value in captured["intermediates"].items():
    if name != "__call__":
        print(f"{name:6}", value["__call__"][0].shape)

# %% [markdown]
# ## Parameters
#
# A convolution has one kernel of $k \times k \times C_{in}$ weights per *output* channel, and one bias. It does not
# matter how large the image is, because the same kernel is used everywhere:
#
# $$(k \cdot k \cdot C_{in} + 1) \cdot C_{out}$$
#
# A linear layer has one weight for each pair of input and output: $(n_{in} + 1) \cdot n_{out}$.

# %%
by_hand = {
    "conv1": (5 * 5 * 1 + 1) * 6,
    "conv2": (5 * 5 * 6 + 1) * 16,
    "conv3": (5 * 5 * 16 + 1) * 120,
    "fc1": (120 + 1) * 84,
    "fc2": (84 + 1) * 10,
}
for name, number in by_hand.items():
    counted = sum(leaf.size for leaf in jax.tree.leaves(variables["params"][name]))
    print(f"{name:6}{number:8,}  counted {counted:,}")
    assert number == counted
print(f"all   {sum(by_hand.values()):8,}")
assert sum(by_hand.values()) == 61_706

# %% [markdown]
# What does a convolution save? `conv1` turns 1,024 numbers into 28 · 28 · 6 = 4,704 with 156 weights. A linear layer
# between the same sizes would need (1024 + 1) · 4704 = 4.8 million.
#
# The project has an MLP of LeNet-5's size, so that the two can be compared fairly. It can afford six layers of 48:

# %%
from itertools import pairwise

widths = (1024, 48, 48, 48, 48, 48, 48, 10)
print(sum((n_in + 1) * n_out for n_in, n_out in pairwise(widths)), "parameters")
assert jaxnets.MODELS["custom_mlp"].num_params == 61_450

# %% tags=["remove-input"]
from matplotlib.figure import Figure

figure = Figure(figsize=(7.5, 1.9), layout="constrained")
axes = figure.subplots()
parts = {"LeNet-5": by_hand, "MLP": {"first": 1025 * 48, "five more": 5 * 49 * 48, "head": 490}}
colors = ("#0072B2", "#56B4E9", "#009E73", "#E69F00", "#CC79A7")
for row, layers in enumerate(parts.values()):
    start = 0
    for (layer, count), color in zip(layers.items(), colors, strict=False):
        axes.barh(row, count, left=start, color=color, edgecolor="white")
        if count > 3000:
            axes.text(start + count / 2, row, f"{layer}\n{count:,}", ha="center", va="center", fontsize=8)
        start += count
axes.set(yticks=range(2), yticklabels=parts, xlabel="parameters")
axes.invert_yaxis()
picture(
    figure,
    "Bars of the parameters of each layer: most of LeNet-5's are in conv3, most of the MLP's in its first layer",
)

# %% [markdown]
# ## The same network twice
#
# Lesson 2 compared two MLPs. Now for the convolutions. First the weights: a convolution's kernel is (out, in, H, W) in
# PyTorch and (H, W, in, out) in Flax. One rule, and the names, are all that is needed to copy them:

# %%
torch.manual_seed(0)
net = torchnets.build("lenet5")
carried = parity.to_flax(net.state_dict())
print(carried["params"]["conv2"]["kernel"].shape, tuple(net.conv2.weight.shape))

logits = np.asarray(model.apply(carried, batch.inputs))
reference = net.eval()(as_tensor(batch.inputs)).detach().numpy()
print(
    f"float32, relative difference of the logits: {np.linalg.norm(logits - reference) / np.linalg.norm(reference):.1e}"
)

# %% [markdown]
# Two right implementations differ by rounding, about 1e-7. A wrong one may differ by 1e-3, or only after the first
# training step. In `float64` the gap between the two is wide:

# %%
report = parity.check(net, model, batch.inputs)
for result in report.results:
    print(f"{result.check:22}{result.error:9.1e}  bound {result.bound:.0e}")
assert report.ok

# %% [markdown]
# ## What a porting bug looks like
#
# Here is one that has been made many times. Feature maps (H, W, C) are flattened as they lie in memory, but the
# weights of the linear layer after them expect PyTorch's order (C, H, W). Every shape is right, and so is the number
# of parameters.

# %%
from flax import linen as nn

from jaxnets.layers import conv2d, linear


class Right(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 4, 3)
        self.fc = torch.nn.Linear(144, 10)

    def forward(self, x):
        return self.fc(torch.flatten(self.conv(x), 1))


class Wrong(nn.Module):
    def setup(self):
        self.conv = conv2d(1, 4, 3)
        self.fc = linear(144, 10)

    def __call__(self, x):
        x = self.conv(x)
        return self.fc(x.reshape(len(x), -1))


report = parity.check(Right(), Wrong(), np.random.default_rng(0).normal(size=(4, 8, 8, 1)))
assert not report.ok
print(report.failures[0].layer, "|", report.failures[0].diagnosis)

# %% [markdown]
# `jaxnets.layers.flatten` goes to channels first and then flattens. LeNet-5 gets away with either order, because its
# maps are 1x1 when they are flattened. Luck of this kind is why such bugs live long.
#
# ## Does regularization help?
#
# A network that has learned its training examples by heart is right on all of them and worse on others. That is
# *overfitting*, and *regularization* is whatever is done against it: dropout, decay of the weights, changing the
# examples at random. Which of them helps? That has to be measured, and a single training measures nothing: another
# seed gives another accuracy. So train with several seeds, with the regularization and without it. Each seed is used
# twice: its initial weights and the order of its examples are the same in both trainings, and only one thing differs.
#
# To make overfitting easy, there are only 150 training examples. Both groups have the same step; one changes the
# images in every epoch, by shifts, rotations and scales.

# %%
import optax

from data import AUGMENTATIONS
from jaxnets.step import eval_step, init_state, train_step

few = Split(dataset.train.inputs[:150], dataset.train.labels[:150])
tx = optax.adam(2e-3)
step = jax.jit(lambda state, batch: train_step(model, tx, state, batch))
evaluate = jax.jit(lambda variables, inputs: eval_step(model, variables, inputs))
init = jax.jit(model.init)
tests = next(Loader(dataset.test, dataset.mean, dataset.std, batch_size=360).epoch())
print("affine:", AUGMENTATIONS["affine"].about)


def accuracies(augment, seed, epochs=30):
    """Return the accuracy on the 150 training and the 360 test examples."""
    loader = Loader(few, dataset.mean, dataset.std, batch_size=50, seed=seed, augment=augment)
    state = init_state(tx, init(jax.random.key(seed), batch.inputs), seed)
    for epoch in range(epochs):
        for each in loader.epoch(epoch):
            state, _ = step(state, each)
    known = next(Loader(few, dataset.mean, dataset.std, batch_size=150).epoch())
    return [float((evaluate(state.variables, x).argmax(axis=1) == labels).mean()) for x, labels in (known, tests)]


SEEDS = range(8)
plain = np.array([accuracies((), seed) for seed in SEEDS])
changed = np.array([accuracies(("affine",), seed) for seed in SEEDS])
for name, values in (("plain", plain), ("affine", changed)):
    print(f"{name:8} training {values[:, 0].mean():.1%}  test", *(f"{value:.1%}" for value in values[:, 1]))

# %% [markdown]
# Most seeds gain. Could that be chance? A *paired t-test* looks at the differences, seed by seed, and returns a
# probability p: if augmentation did nothing, how often would chance alone make their mean this large?

# %%
from typing import Any

from scipy.stats import ttest_rel

test: Any = ttest_rel(changed[:, 1], plain[:, 1], alternative="greater")
p = test.pvalue
print(f"augmentation: {changed[:, 1].mean() - plain[:, 1].mean():+.1%}, p = {p:.1g}")
assert p < 0.01

# %% tags=["remove-input"]
figure = Figure(figsize=(6.5, 2.6), layout="constrained")
axes = figure.subplots()
for column, color, marker, name in ((1, "#D55E00", "o", "test"), (0, "#0072B2", "^", "training")):
    for seed in SEEDS:
        both = 100 * plain[seed, column], 100 * changed[seed, column]
        axes.plot(both, (0, 1), marker=marker, color=color, alpha=0.6, linewidth=0.8, label=None if seed else name)
axes.set(yticks=range(2), yticklabels=("plain", "affine"), xlabel="accuracy, %", ylim=(-0.3, 1.3))
axes.set_title("eight seeds: a line joins the two trainings of each")
axes.legend(loc="center", bbox_to_anchor=(0.75, 0.5))
picture(
    figure,
    "Accuracies of each seed. Nearly all training examples are right in both groups, and more of the test with affine",
)

# %% [markdown]
# Both groups know their training examples; the one that never saw the same image twice knows the others better. So
# *this* regularization helps *here*. When these lines were written, 20 epochs instead of 30 gave +0.3 points and
# p = 0.3, so nothing: changed images take longer to learn. On MNIST with its 60,000 images a comparison of this kind
# gives 0.2 percentage points for augmentation, 0.1 for BatchNorm, and for decay of the weights nothing that can be
# told from chance
# ([results](../results.md#does-regularization-help)). "Regularization helps" is not a law; it is a question.
#
# ## Exercises
#
# `from exercises import check`, then `check(4, 1, my_function)`.
#
# 1. **Count.** Write `parameters(layers)`; a layer is `("conv", k, c_in, c_out)` or `("linear", n_in, n_out)`, and all
#    have biases. Try it with LeNet-5.
# 2. **Sizes.** Write `size(n, kernel, stride, padding)`: how many positions a kernel takes along an axis of `n`, with
#    `padding` zeros on *both* sides and steps of `stride`.
# 3. **Flatten.** Write `flatten(x)` from (N, H, W, C) to (N, C · H · W) in PyTorch's order, in JAX.

# %% tags=["remove-input"]
solutions("04_lenet5")

# %% [markdown]
# Next: [what the kernels have learned](05_convolutions.py).
