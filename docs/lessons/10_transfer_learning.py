# %% [markdown]
# # 10. Transfer learning
#
# **You will be able to** use a trained network for other classes, with a handful of examples; say what exactly is
# frozen when a layer is "frozen", which is four things and not one; and check that it was.
#
# **You need** lessons [3](03_training_step.py) (the training step) and [6](06_residual.py) (residual networks and
# batch normalization).
#
# ## The idea
#
# A network that tells dogs from cats has learned edges, textures and shapes before it has learned dogs. Most of it is
# of use for horses, too. So keep the trained layers, the **body**, and train only a new last layer, the **head**. It
# has few weights, and a few examples are enough for it.
#
# The digits will do to see it, if they are made harder: each is put somewhere on a larger, black image. Pixels then
# say little by themselves, since the same digit may be anywhere. A small ResNet is trained on 0 to 4, of which there
# are plenty. Then it has to tell 5 to 9 apart, which it has never seen, from one to twenty examples of each.

# %%
from typing import Any

import jax
import numpy as np

import jaxnets
from data import from_arrays, load
from jaxnets.models.resnet import BasicBlock, ResNet

digits = load("digits")
labels = np.concatenate([digits.train.labels, digits.test.labels])
small = np.concatenate([digits.train.inputs, digits.test.inputs])  # (N, 8, 8, 1)
images = np.zeros((len(small), 12, 12, 1), np.uint8)
for image, digit, (top, left) in zip(
    images, small, np.random.default_rng(0).integers(0, 5, (len(small), 2)), strict=True
):
    image[top : top + 8, left : left + 8] = digit

low = labels < 5
many = from_arrays(images[low], labels[low])
options = {"block": BasicBlock, "depths": (1, 1, 0, 0), "width": 16, "in_channels": 1, "small_images": True}
trained = jaxnets.fit(ResNet(num_classes=5, **options), many, epochs=8, batch_size=64, lr=0.01, seed=0)
print(f"0 to 4: test accuracy {trained.scores['test'].accuracy:.1%}")

# %% [markdown]
# ## Features
#
# What the last layer is given is called the **features** of an image. In this project a network of 0 classes has no
# last layer and returns them. The weights are those of the trained network; what it does not use is ignored.

# %%
body = ResNet(num_classes=0, **options)
inputs = trained.inputs(images[~low])
names = labels[~low] - 5


@jax.jit
def features(variables):
    """Return the features of the images of 5 to 9."""
    return body.apply(variables, inputs, train=False)


untrained = jax.jit(body.init)(jax.random.key(1), inputs[:1])
learned, random = np.asarray(features(trained.variables)), np.asarray(features(untrained))
print("an image is", inputs.shape[1:], "and its features are", learned.shape[1:])

# %% [markdown]
# Are these features any good? Take $n$ examples of each class and the mean of their features, and call every other
# image by the class whose mean is nearest. For comparison the same with the features of a network that was never
# trained, and with the pixels themselves. Each point is a mean over twenty draws of examples.

# %%
kinds = {"learned features": learned, "random features": random, "pixels": inputs.reshape(len(inputs), -1)}
COUNTS = (1, 2, 5, 10, 20)
HELD_OUT = 600  # the first 600 are drawn from, the others are for testing


def accuracy(x, count):
    """Return the share of images whose class has the nearest mean, of `count` examples of each class."""
    x, found = (x - x[:HELD_OUT].mean(axis=0)) / (x[:HELD_OUT].std(axis=0) + 1e-6), []
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(HELD_OUT)
        means = np.stack([x[order[names[order] == label][:count]].mean(axis=0) for label in range(5)])
        distances = ((x[HELD_OUT:, None] - means) ** 2).sum(axis=-1)  # (N, 5)
        found.append((distances.argmin(axis=1) == names[HELD_OUT:]).mean())
    return float(np.mean(found))


curves = {kind: [accuracy(x, count) for count in COUNTS] for kind, x in kinds.items()}
for kind, values in curves.items():
    print(f"{kind:18}", *(f"{value:7.1%}" for value in values))
assert curves["learned features"][-1] > max(curves["random features"][-1], curves["pixels"][-1])

# %% tags=["remove-input"]
from matplotlib.figure import Figure
from show import picture, side_by_side, solutions, source

figure = Figure(figsize=(6.5, 3.2), layout="constrained")
axes = figure.subplots()
for (kind, values), color, marker in zip(curves.items(), ("#0072B2", "#E69F00", "#D55E00"), "os^", strict=True):
    axes.plot(COUNTS, [100 * value for value in values], color=color, marker=marker, label=kind)
axes.set(
    xscale="log", xlabel="examples of each class", ylabel="accuracy, %", ylim=(0, 60), title="Telling 5 to 9 apart"
)
axes.set_xticks(COUNTS, [str(count) for count in COUNTS])
axes.minorticks_off()
axes.axhline(20, color="0.4", linestyle="--", linewidth=1, label="guessing")
axes.grid(alpha=0.3)
axes.legend(loc="lower right", ncols=2)
picture(figure, "Accuracy against the number of examples for learned features, random features and pixels")

# %% [markdown]
# Guessing is right in 20%. In learned features one example of each class says more than twenty do in pixels, and they
# were learned on other digits. It is the body's training that does it: random layers help only a little.
#
# ## A frozen body and a new head
#
# Features that are computed once are the cheapest way. But with augmentation every image is another one in each epoch,
# and then body and head run together in one training, in which the body is frozen. That is the argument `frozen` of
# `ResNet`. What does it have to mean?
#
# | | PyTorch | here, in JAX |
# | --- | --- | --- |
# | 1. no gradient is computed | `requires_grad_(False)` | `grad` by the trained part of the tree only |
# | 2. no update, and no state of the optimizer | follows from 1 | `optax.partition` |
# | 3. no weight decay | follows from 2 | follows from 2 |
# | 4. BatchNorm's statistics stay | **no**: `train()` reaches every layer | **no**: `train=True` reaches every layer |
#
# The fourth is trap 21. In training mode BatchNorm normalizes by the batch, and moves its running mean and variance,
# whether its weights are frozen or not. A "frozen" network then becomes another one, batch by batch, and no weight
# shows it. So both sides put the frozen layers into evaluation mode:

# %% tags=["remove-input"]
import torchnets.models.resnet

side_by_side(ResNet.__call__, torchnets.models.resnet.ResNet.forward)
side_by_side(ResNet.is_trained, torchnets.models.resnet.ResNet.is_trained)

# %% [markdown]
# In Flax the flag is an argument: `train=moving` for the body and `train=train` for the head. In PyTorch it is a state
# of each layer, which `model.train()` sets for all, so `forward` sets it back. `is_trained` says which layers are
# which, on both sides.
#
# The first two rows are three functions. They take the tree apart and put it together again, and the step knows
# nothing of it:

# %% tags=["remove-input"]
from jaxnets.gradient_transforms import freeze, split_params, without_frozen

source(split_params)
source(without_frozen)
source(freeze)

# %% [markdown]
# `grad` differentiates by its first argument. Here that argument is the trained part of the tree alone, and the frozen
# part comes in from outside, as a constant. Then no backward pass goes through the body at all.
#
# Now train: five examples of each class, the trained body, a new head.

# %%
model = ResNet(num_classes=5, frozen=True, **options)
few = np.concatenate([np.flatnonzero(names[:HELD_OUT] == label)[:5] for label in range(5)])
dataset = from_arrays(images[~low][few], names[few], test=(images[~low][HELD_OUT:], names[HELD_OUT:]))
new = jax.jit(model.init)(jax.random.key(2), inputs[:1])
start = {**trained.variables, "params": {**trained.variables["params"], "fc": new["params"]["fc"]}}
result = jaxnets.fit(model, dataset, epochs=30, batch_size=20, lr=0.05, seed=0, variables=start)
print(f"5 to 9, from 25 examples: test accuracy {result.scores['test'].accuracy:.1%}")

# %% [markdown]
# The new tree is a dict of the old body and the new head. Nothing had to be loaded into anything.
#
# ## Was it frozen?
#
# Look, and compare bits, not roundings:

# %%
from flax.traverse_util import flatten_dict

flat: Any = [flatten_dict(tree, sep="/") for tree in (start, result.variables)]
before, after = flat
changed = [path for path in before if not np.array_equal(before[path], after[path])]
print(len(before), "arrays, changed:", changed)
assert all(path.startswith("params/fc/") for path in changed)

# %% [markdown]
# And if the flag had not been stopped? The same body in training mode, for one batch:

# %%
moving = ResNet(num_classes=5, **options)
run = jax.jit(lambda variables, x: moving.apply(variables, x, train=True, mutable=["batch_stats"]))
_, moved = run(start, inputs[:20])
mean, then = start["batch_stats"]["bn1"]["mean"], moved["batch_stats"]["bn1"]["mean"]
print(f"bn1's mean moved by {np.linalg.norm(then - mean) / np.linalg.norm(mean):.0%} in one step")

# %% [markdown]
# ## Parity
#
# Both sides must agree on what is frozen: a gradient that one side has and the other has not is a failure, and so is a
# statistic that moves.

# %%
import torch

import parity
import torchnets.models.resnet

torch.manual_seed(0)
tiny = {"depths": (1, 0, 0, 0), "width": 4, "in_channels": 1, "small_images": True, "num_classes": 3, "frozen": True}
net = torchnets.models.resnet.ResNet(block=torchnets.models.resnet.BasicBlock, **tiny)
report = parity.check(net, ResNet(block=BasicBlock, **tiny), np.asarray(inputs[:4]))
for line in report.results:
    print(f"{line.check:22}{line.error:9.1e}  bound {line.bound:.0e}")
assert report.ok

# %% [markdown]
# With published weights this is `resnet50_transfer`, a frozen ResNet-50 with a head of three layers:
# `python -m jaxnets.train --model resnet50_transfer --weights torchvision --new-head --dataset ./pets`. It downloads
# 100 MB once ([weights](../checkpoints.md#weights)).
#
# ## Exercises
#
# `from exercises import check`, then `check(10, 1, my_function)`.
#
# 1. **A new head.** Write `with_new_head(variables, name, kernel, bias)`: new variables in which the layer `name` of
#    `"params"` has these arrays. The old variables must stay as they are.
# 2. **What changed?** Write `changed(before, after)`: the paths of the leaves that differ, as `"params/fc/kernel"`,
#    for nested dicts of arrays.
# 3. **A step that freezes.** Write `step(params, grads, rate, frozen)`: plain gradient descent that leaves alone the
#    layers whose names are in `frozen`, the top level of the tree.

# %% tags=["remove-input"]
solutions("10_transfer_learning")

# %% [markdown]
# Next: [the traps](11_traps.py), all of them. You have met some of them by now.
