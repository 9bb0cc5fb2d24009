# %% [markdown]
# # 11. The traps
#
# **You will be able to** name the places where PyTorch and JAX do different things under the same name; say what each
# looks like from outside, which is often like nothing; and find them with a check in float64, a check of every
# gradient and a check of every stage of a training step.
#
# **You need** lessons [3](03_training_step.py) (the training step), [5](05_convolutions.py) (convolutions) and
# [8](08_inception.py), whose dead max-pool is the first trap that you met.
#
# ## What a trap is
#
# Some mistakes are loud. Shapes do not fit, a name is unknown, a loss is not a number: you lose a minute. A trap is a
# mistake that is quiet. The program runs, the number of weights is right, the loss goes down, and the network is
# another one than you think. You lose a week, or you publish it.
#
# The project numbers the traps. "Trap 8" in a comment, a test or a report is row 8 of [the list](../traps.md), which
# says what each framework does. This lesson plants some of them, looks at what shows from outside, and finds them.
#
# ## A pair to plant them in
#
# Two small networks with the same layers in the same order. The Flax one takes its parts as arguments, so that one
# part at a time can be replaced by the one that a hurried person would write. They are in a file beside this page:

# %% tags=["remove-input"]
import trap_pair
from show import picture, side_by_side, solutions

side_by_side(trap_pair.Net, trap_pair.TorchNet)

# %% [markdown]
# To follow along, start `ipython` in `docs/lessons` of the clone, where that file is.

# %%
from functools import partial
from itertools import islice

import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import linen as nn
from trap_pair import Net, TorchNet

import jaxnets
import parity
from data import Loader, load
from jaxnets.layers import BatchNorm

digits = load("digits")
loader = Loader(digits.train, digits.mean, digits.std, batch_size=16, seed=0)
batch = next(loader.epoch(0))
torch.manual_seed(0)
net = TorchNet()

# %% [markdown]
# ## Four traps in the forward pass
#
# The first three are what Flax's documentation shows first; the last is the epsilon of Keras. None raises an error.


# %%
def in_memory_order(x):
    return x.reshape(len(x), -1)


class FlaxNorm(nn.BatchNorm):
    """Flax's own BatchNorm, called as ours is."""

    def __call__(self, x, *, train):  # pyright: ignore[reportIncompatibleMethodOverride]
        return super().__call__(x, use_running_average=not train)


forward = {
    "trap 4: nn.Conv(4, (3, 3), strides=2)": Net(make_conv=partial(nn.Conv, 4, (3, 3), strides=2)),
    "trap 8: x.reshape(len(x), -1)": Net(flatten=in_memory_order),
    "trap 12: nn.gelu(x)": Net(gelu=nn.gelu),
    "trap 2: epsilon of 1e-3": Net(make_norm=partial(BatchNorm, 4, epsilon=1e-3)),
}
shapes = [
    jax.tree.map(jnp.shape, model.init(jax.random.key(0), batch.inputs)["params"])
    for model in (Net(), *forward.values())
]
print("names and shapes are the same in all five:", all(shape == shapes[0] for shape in shapes))

# %% [markdown]
# Do they train? Here is the right network and the one that flattens in another order, each trained from the start:

# %%
for name, model in (("right", Net()), ("trap 8", Net(flatten=in_memory_order))):
    result = jaxnets.fit(model, digits, epochs=3, lr=0.01, seed=0)
    print(f"{name:8}test accuracy {result.scores['test'].accuracy:.1%}")

# %% [markdown]
# Both learn, and a few percent are what another seed does, too. So the accuracy does not find it. Equal weights do:
# copy them from PyTorch and compare the logits.

# %%
variables = parity.to_flax(net.state_dict())


def distance(model, dtype):
    """Return how far apart the logits of both sides are, relative to PyTorch's, computed in `dtype`."""
    x = batch.inputs.astype(dtype)
    with torch.no_grad():
        reference = net.eval().to(torch.from_numpy(x).dtype)(torch.from_numpy(x).permute(0, 3, 1, 2)).numpy()
    with jax.enable_x64(dtype is np.float64):
        wide = jax.tree.map(lambda array: np.asarray(array, dtype) if array.dtype.kind == "f" else array, variables)
        found = np.asarray(model.apply(wide, x))
    return float(np.linalg.norm(found - reference) / np.linalg.norm(reference))


far = {
    name: (distance(model, np.float32), distance(model, np.float64))
    for name, model in {"right": Net(), **forward}.items()
}
net = net.float()
for name, (single, double) in far.items():
    print(f"{name:40}float32 {single:.0e}   float64 {double:.0e}")

# %% tags=["remove-input"]
from matplotlib.figure import Figure

figure = Figure(figsize=(7.5, 3), layout="constrained")
axes = figure.subplots()
for row, name in enumerate(far):
    for value, color, marker, label in zip(
        far[name], ("#E69F00", "#0072B2"), "so", ("float32", "float64"), strict=True
    ):
        axes.plot(value, -row, marker, color=color, label=label if row == 0 else None)
axes.axvline(1e-3, color="0.4", linestyle="--", linewidth=1)
axes.text(1.2e-3, -0.1, "a usual\ntolerance", fontsize=8, va="center")
axes.set(xscale="log", xlim=(1e-17, 10), xlabel="relative difference of the logits")
axes.set_yticks([-row for row in range(len(far))], list(far))
axes.grid(axis="x", alpha=0.3)
axes.legend(loc="lower left")
picture(
    figure, "Differences of the right network and four wrong ones: only in float64 is there a wide gap between them"
)

# %% [markdown]
# The picture is the reason for float64. In float32 the right network is 1e-7 away, because every operation rounds. A
# deeper one may be 1e-5 away. GELU's approximation is not much further, and a tolerance of 1e-3, which many tests
# have, lets it pass. In float64 rounding shrinks to 1e-16, and *a bug stays as large as it is*. There is nothing
# between 1e-13 and 1e-6 to argue about.
#
# A distance says that something is wrong. It does not say what. `parity.check` gives each layer of the Flax side
# PyTorch's input, so that one bug does not spoil all that follows, and tries the known mistakes on the first layer
# that differs:

# %%
for name, model in forward.items():
    report = parity.check(net, model, batch.inputs, same_names=True, fail_fast=True)
    failure = report.failures[0]
    cause = failure.diagnosis.split(": given")[0].split(": its input")[0]
    print(f"{name}\n  {failure.check} fails at {failure.layer}: {cause}\n")
    assert name.split(":")[0] in failure.diagnosis

# %% [markdown]
# ## A trap that shows only after training
#
# Flax's BatchNorm, with the right epsilon and momentum, computes the same outputs, in evaluation and in training, and
# the same gradients. But it *keeps* another variance: the mean of the squares, where PyTorch keeps the unbiased one, a
# factor of $n/(n-1)$. It is seen when the trained network is evaluated, and most with small batches.

# %%
biased = Net(make_norm=partial(FlaxNorm, momentum=0.9, epsilon=1e-5))
report = parity.check(net, biased, batch.inputs, same_names=True, fail_fast=True)
for line in report.results:
    print(f"{line.check:22}{line.error:9.1e}  bound {line.bound:.0e}  {'FAIL' if line.failure else 'ok'}")
print(report.failures[0].diagnosis)
assert report.failures[0].check == "BatchNorm statistics"

# %% [markdown]
# ## A trap in the gradient alone
#
# What is the slope of $\max(x, 0)$ at 0? Mathematics leaves it open. PyTorch says 0, `jnp.maximum` says one half, and
# `jax.nn.relu` says 0, like PyTorch. Zeros are not rare: think of a black background.

# %%
at_zero = torch.zeros((), requires_grad=True)
(slope,) = torch.autograd.grad(torch.relu(at_zero), at_zero)
print("torch.relu ", slope.item())
print("jnp.maximum", jax.grad(lambda x: jnp.maximum(x, 0))(0.0))
print("jax.nn.relu", jax.grad(jax.nn.relu)(0.0))

# %% [markdown]
# ## A trap in the update
#
# Weight decay pulls weights towards zero. PyTorch's `Adam(weight_decay=...)` adds it to the *gradient*, and Adam then
# scales it like a gradient. `optax.adamw` subtracts it from the *weights*, past Adam. Both are called weight decay,
# and a training with the one reaches other weights than with the other (trap 13).
#
# `parity.check_training` takes two whole training steps and compares every stage of each: outputs, loss, gradients,
# update, statistics. Before each step, JAX's state is set to PyTorch's, so nothing adds up. A linear layer is enough:

# %% tags=["remove-input"]
side_by_side(trap_pair.jax_training, trap_pair.torch_training)

# %%
from trap_pair import jax_training, torch_training

three = islice(loader.epoch(0), 3)
flat = [(one.inputs.reshape(-1, 64), one.labels.astype(np.int64)) for one in three]
found = parity.check_training(torch_training, jax_training, flat, steps=3)
print(found.stage, "differs at step", found.step)
print(found.diagnosis)
assert found.stage == "update"

# %% [markdown]
# Forward pass, loss and gradients agree, and the update differs: the network is right and the optimizer is not. The
# loss curves of the two would have looked like two seeds.
#
# ## Traps that no pair shows
#
# Some mistakes are made around the network. Two examples.
#
# **The mean of means (trap 25).** A test set rarely divides into full batches. Whoever averages the accuracies of the
# batches gives the examples of the last, smaller batch more weight than the others:

# %%
right = np.arange(100) < 90  # 90 of 100 are right; the last ten, which come last, are wrong
parts = [right[:64], right[64:96], right[96:]]
print("mean of means:", np.mean([part.mean() for part in parts]), " right over all:", right.sum() / len(right))

# %% [markdown]
# **Shared memory (trap 22).** `tensor.numpy()` is a view. Weights that were "saved" in this way go on training:

# %%
layer = torch.nn.Linear(1, 1)
saved = layer.weight.detach().numpy()
before = saved.item()
with torch.no_grad():
    layer.weight += 1
print("changed by", saved.item() - before, "though nobody touched it")

# %% [markdown]
# ## All of them
#
# What each framework does is in [the list of traps](../traps.md). Here is what it looks like from outside, and what
# finds it. *Forward*, *gradients*, *statistics*, *dropout*, *structure* are checks of `parity check`, *trajectory* is
# its training of ten steps, and *stages* is `parity check-training`. Missing numbers have no place in the code.
#
# | trap | it is about | symptom | what finds it |
# | --- | --- | --- | --- |
# | 1 | unbiased variance | evaluation differs after training, most with small batches | statistics |
# | 2 | momentum and epsilon of BatchNorm | statistics forget too fast; small differences | statistics, forward |
# | 3 | variance in one pass | noise where the mean is large | forward in training mode, far from zero |
# | 4 | SAME at stride 2 | features are shifted by a pixel; a trained network loses some points | forward |
# | 5 | padding of an even kernel | the same | forward |
# | 6 | padding and rounding of a max-pool | wrong edges; one row more or less | forward |
# | 7 | adaptive pooling | an error at some sizes, or wrong means | forward at such a size |
# | 8 | order of flattening | carried weights give nonsense; trains well from the start | forward |
# | 9 | layout of kernels | the same; a square one fits untransposed | forward, structure |
# | 10 | dead code, a missing ReLU, another order | none: it trains | forward |
# | 11 | slope of ReLU at 0 | gradients differ where inputs are exactly 0 | gradients |
# | 12 | GELU | differences of about 1e-4 | forward in float64 |
# | 13 | weight decay | another regularization, other best rates | trajectory, stages |
# | 14 | RMSprop's epsilon | another step where gradients are small | trajectory, stages |
# | 15 | rate and momentum | a schedule acts late | trajectory, stages |
# | 16 | who counts the steps | the rate is one step, or one epoch, off | trajectory, stages |
# | 17 | initial weights | a slower start, another accuracy | many seeds: `parity training` |
# | 18 | mean or sum of a loss | the rate seems wrong by the batch size | trajectory, stages |
# | 19 | TF32 | differences of 1e-3 on a GPU only | a check on the CPU passes |
# | 20 | generators of dropout | nothing can be compared | dropout, with the same masks given to both |
# | 21 | frozen layers in training mode | a frozen network changes | forward in training mode, statistics |
# | 22 | `numpy()` shares memory | saved weights change | a copy, and a test that trains on |
# | 23 | donated buffers | an error when the old state is read | it is loud |
# | 24 | weights copied by order or reshaped | nonsense, or one layer of nonsense | structure, round trip |
# | 25 | the last batch; means of means | metrics are a little off | a test with a batch that is not full |
# | 26 | integer types of labels | an error, or a copy in each step | it is loud |
# | 28 | a bias before BatchNorm | gradients of rounding alone differ; nothing is wrong | the checker knows it |
# | 30 | clipping adds 1e-6 | the seventh digit of an update | stages |
# | 31 | dropout's generator at a resume | a resumed training is another one | a resume compared bit for bit |
# | 32 | skipped steps and the schedule | the rate is off after bad numbers | stages |
# | 33 | Muon's momentum | the first steps differ | trajectory |
# | 34 | start of the moving average | the average lags at the start | stages |
# | 35 | what a skipped step protects | NaN in the statistics | a test with a bad batch |
# | 36 | the row of padding | an embedding that should stay zero is trained | gradients |
# | 37 | RAdam's epsilon and its rectification | the first rectified step is 1% too small | update, stages |

# %% [markdown]
# Read the third column once more. "None", "a little off", "slower", "some points": that is why these are traps.
#
# Of [74 planted bugs](../../benchmarks/results/planted-bugs.md) the checks find 74 and locate all of them, and pairs
# that are right raise no alarm. Both halves count. A checker that cries at every rounding is soon switched off.
#
# ## Parity
#
# So the right pair has to pass, all of it:

# %%
report = parity.check(net, Net(), batch.inputs)
for line in report.results:
    print(f"{line.check:22}{line.error:9.1e}  bound {line.bound:.0e}")
assert report.ok

# %% [markdown]
# ## Exercises
#
# `from exercises import check`, then `check(11, 1, my_answer)`.
#
# 1. **Padding.** Write `conv(features)`, which returns a Flax layer that computes what
#    `torch.nn.Conv2d(inputs, features, 4, stride=2, padding=1)` computes.
# 2. **The right mean.** Write `accuracy(batches)` for (logits, labels) of batches of any sizes.
# 3. **Coupled decay.** Write `adam(rate, decay)`, an optax transformation that is
#    `torch.optim.Adam(lr=rate, weight_decay=decay)`.

# %% tags=["remove-input"]
solutions("11_traps")

# %% [markdown]
# Next: [speed](12_speed.py), where the traps are in the clock.
