# %% [markdown]
# # 2. Functions, not objects
#
# **You will be able to** write a network as a pure function of a tree of weights; differentiate it, compile it and run
# it over a batch with `grad`, `jit` and `vmap`; read the same network in Flax Linen and in PyTorch; and prove that all
# three compute the same.
#
# **You need** [lesson 1](01_data.py): a batch, and how to follow along (`ipython`, or a file; not `python`'s prompt).
#
# ## Why functions?
#
# In PyTorch a network is an object: it *has* weights, and it changes when it is trained. In JAX a network is a
# function: the weights are an argument, and nothing ever changes.
#
# This is not a matter of taste. JAX does four things to a function: it differentiates it, compiles it, runs it over a
# batch, and distributes it over devices. It does so by running the function once with placeholders instead of numbers,
# writing down what is computed, and transforming that. Whatever the function reads or changes *besides* its arguments
# and its result is not written down. So the rule is: everything in through the arguments, everything out through the
# result. Such a function is called **pure**.

# %%
from typing import Any  # "model: Any" is for the type checker alone: leave it out if you like

import jax
import jax.numpy as jnp
import numpy as np

import jaxnets.models.mlp  # before JAX computes anything
import torchnets.models.mlp
from data import Loader, load

digits = load("digits")
loader = Loader(digits.train, digits.mean, digits.std, batch_size=64, seed=0)
batch = next(loader.epoch(0))
print(batch.inputs.shape, batch.labels.shape)

# %% [markdown]
# Import `jaxnets` before JAX computes its first number. Some versions of JAX's compiler get sums wrong on a CPU;
# `jaxnets` switches off the part that does, and warns if it comes too late ([the story](../compiler.md)).
#
# ## A network is a tree and a function
#
# A multi-layer perceptron (MLP) is a row of *linear layers*, $x W + b$, with a *ReLU*, $\max(x, 0)$, between them. The
# weights are arrays in nested dicts. JAX calls every nesting of dicts, lists and tuples a **tree**, and the arrays its
# **leaves**.

# %%
WIDTHS = (64, 32, 16, 10)  # 64 pixels in, 10 classes out
NAMES = ("fc_0", "fc_1", "head")


def init(seed):
    """Return random weights as a tree."""
    rng = np.random.default_rng(seed)
    sizes = zip(NAMES, WIDTHS[:-1], WIDTHS[1:], strict=True)
    return {
        name: {
            "kernel": jnp.asarray(rng.normal(size=(n_in, n_out)) * (2 / n_in) ** 0.5, jnp.float32),
            "bias": jnp.zeros(n_out),
        }
        for name, n_in, n_out in sizes
    }


params = init(seed=0)
print(jax.tree.map(jnp.shape, params))

# %% [markdown]
# `jax.tree.map` applies a function to every leaf and keeps the nesting. The network is this function:


# %%
def mlp(params, x):
    """Return logits, (N, 8, 8, 1) to (N, 10)."""
    x = x.reshape(len(x), -1)  # (N, 64)
    for name in NAMES[:-1]:
        x = jax.nn.relu(x @ params[name]["kernel"] + params[name]["bias"])
    return x @ params["head"]["kernel"] + params["head"]["bias"]


logits = mlp(params, batch.inputs)
print(logits.shape, "first example: predicted", logits[0].argmax(), "label", batch.labels[0])

# %% [markdown]
# The ten numbers of an example are its *logits*: the larger one is, the more the network believes in that class. They
# are nonsense so far, because the weights are random. The **loss** says how wrong they are, as one number. It is the
# mean of minus the logarithm of the probability that the network gives to the right class (*cross-entropy*):


# %%
def loss(params, x, labels):
    """Return the cross-entropy, averaged over the batch."""
    log_probs = jax.nn.log_softmax(mlp(params, x))  # (N, 10)
    return -log_probs[jnp.arange(len(labels)), labels].mean()


print("loss:", loss(params, batch.inputs, batch.labels), " if all classes are equally likely:", np.log(10))

# %% [markdown]
# ## `grad`: a function in, a function out
#
# `jax.grad(loss)` is a new function with the same arguments. It returns the derivative of the loss by its *first*
# argument, so it returns a tree like `params`: for every weight, by how much the loss grows if that weight grows.

# %%
grads = jax.grad(loss)(params, batch.inputs, batch.labels)
print(jax.tree.map(jnp.shape, grads))

# %% [markdown]
# Do not believe it, check it. A derivative is a difference quotient, so change one weight a little and look:

# %%
EPS = 1e-2
more, less = (
    {**params, "head": {**params["head"], "bias": params["head"]["bias"].at[3].add(step)}} for step in (EPS, -EPS)
)
quotient = (loss(more, batch.inputs, batch.labels) - loss(less, batch.inputs, batch.labels)) / (2 * EPS)
print("quotient:", quotient, " grad:", grads["head"]["bias"][3])
assert abs(quotient - grads["head"]["bias"][3]) < 1e-3

# %% [markdown]
# Look at how the weight was changed. JAX's arrays cannot be written to. `x.at[3].add(step)` returns a *new* array, and
# the dicts around it are new, too. `params` is what it was. There are two versions of the network now, and both work.
#
# Training repeats one step: go a little way against the gradient. It fits on one line, because a step is a function of
# two trees:


# %%
def sgd_step(params, x, labels):
    """Return new weights, and the loss of the old ones."""
    value, grads = jax.value_and_grad(loss)(params, x, labels)
    return jax.tree.map(lambda p, g: p - 0.1 * g, params, grads), value


# %% [markdown]
# ## `jit`: compile once, run often
#
# Called like this, every operation of the step is sent to the processor by itself. `jax.jit` runs the Python function
# *once*, with placeholders, and compiles what it saw. From then on only the compiled program runs.

# %%
from time import perf_counter

fast_step = jax.jit(sgd_step)


def milliseconds(step):
    """Return the shortest of five times."""
    jax.block_until_ready(step(params, batch.inputs, batch.labels))  # compiles, if it is compiled
    times = []
    for _ in range(5):
        start = perf_counter()
        jax.block_until_ready(step(params, batch.inputs, batch.labels))
        times.append(perf_counter() - start)
    return 1000 * min(times)


print(f"one step: {milliseconds(sgd_step):.2f} ms, compiled {milliseconds(fast_step):.2f} ms")

# %% [markdown]
# `block_until_ready` waits for the result. JAX returns before it has computed, so that Python can go on; a clock that
# is read without waiting measures nothing.
#
# Now the price of impurity. This function counts its calls in a variable outside. It is called three times:

# %%
calls = []


@jax.jit
def impure(x):
    calls.append(x)
    return x + 1


for _ in range(3):
    impure(1.0)
print("calls that were counted:", len(calls), " what was seen:", calls[0])

# %% [markdown]
# One call was counted, and what it saw is no number but a placeholder. The second and third call ran the compiled
# program, in which `append` does not exist. No error, no warning. If something must be counted, it is an argument and
# a result; that is what the training state of lesson 3 is.
#
# ## `vmap`: write for one, run for many
#
# `jax.vmap` turns a function of one example into a function of a batch. With `grad` it gives something that is hard to
# get in PyTorch's usual style: the gradient of *each example*, not of their mean. `in_axes` says which arguments have
# a batch axis: not the weights (`None`), but inputs and labels (axis 0).


# %%
def loss_of_one(params, x, label):
    """Return the loss of one example; x (8, 8, 1)."""
    return loss(params, x[None], label[None])


per_example = jax.jit(jax.vmap(jax.grad(loss_of_one), in_axes=(None, 0, 0)))
each = per_example(params, batch.inputs, batch.labels)
print("one gradient per example:", each["head"]["kernel"].shape)
mean = jax.tree.map(lambda g: g.mean(axis=0), each)
assert all(np.allclose(a, b, atol=1e-5) for a, b in zip(jax.tree.leaves(mean), jax.tree.leaves(grads), strict=True))
print("their mean is the gradient of the mean loss")

# %% [markdown]
# ## The same network in Linen and in PyTorch
#
# Nobody wants to write shapes by hand for fifty layers. **Flax Linen** writes the tree and the function for you. Here
# is the project's MLP, and its twin in PyTorch. Words that differ are marked.

# %% tags=["remove-input"]
from show import picture, side_by_side, solutions

side_by_side(jaxnets.models.mlp.MLP, torchnets.models.mlp.MLP)

# %% [markdown]
# They look alike and they are not. The PyTorch module *contains* its weights. The Linen module contains none: it is a
# description, with two functions. `init` makes the tree, `apply` is the pure function of tree and inputs. Compare:

# %%
model: Any = jaxnets.models.mlp.MLP(in_features=64, hidden=(32, 16))
variables = model.init(jax.random.key(0), batch.inputs)  # random weights; keys are a subject of lesson 3
print("Linen:  ", jax.tree.map(jnp.shape, variables))

net = torchnets.models.mlp.MLP(in_features=64, hidden=(32, 16))
print("PyTorch:", {name: tuple(value.shape) for name, value in net.state_dict().items()})

# %% [markdown]
# Linen's tree is our own tree, under the name `"params"`. (What else there can be, lesson 3 tells.) So our function
# and Linen's take the same weights and must give the same logits:

# %%
ours, linens = mlp(variables["params"], batch.inputs), model.apply(variables, batch.inputs)
print("largest difference:", abs(ours - linens).max())
assert np.allclose(ours, linens, atol=1e-5)

# %% [markdown]
# PyTorch's weights have other names (`fc.0.weight`, not `fc_0`/`kernel`), and a weight is (out, in) where JAX has
# (in, out). That is all: `parity.to_flax` renames and transposes, and returns our tree.

# %%
import parity

carried = parity.to_flax(net.state_dict())
print(jax.tree.map(jnp.shape, carried["params"]["fc_0"]), tuple(net.state_dict()["fc.0.weight"].shape))

# %% [markdown]
# ## One training, three times
#
# From the same weights, over the same batches: the function above, the Linen module with the same step, and PyTorch's
# module with `torch.optim.SGD`.

# %%
import torch

from torchnets.tensors import as_tensors


def linen_loss(params, x, labels):
    log_probs = jax.nn.log_softmax(model.apply({"params": params}, x))
    return -log_probs[jnp.arange(len(labels)), labels].mean()


@jax.jit
def linen_step(params, x, labels):
    value, grads = jax.value_and_grad(linen_loss)(params, x, labels)
    return jax.tree.map(lambda p, g: p - 0.1 * g, params, grads), value


mine = linen = jax.tree.map(jnp.asarray, carried["params"])
optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
curves = {"a function": [], "Linen": [], "PyTorch": []}
for epoch in range(4):
    for batch in loader.epoch(epoch):
        mine, value = fast_step(mine, *batch)
        curves["a function"].append(float(value))
        linen, value = linen_step(linen, *batch)
        curves["Linen"].append(float(value))
        x, labels = as_tensors(batch)
        optimizer.zero_grad()
        value = torch.nn.functional.cross_entropy(net(x), labels)
        value.backward()
        optimizer.step()
        curves["PyTorch"].append(value.item())
print("last losses:", {name: round(values[-1], 6) for name, values in curves.items()})
furthest = max(np.ptp(values) for values in zip(*curves.values(), strict=True))
print(f"furthest apart in {len(curves['PyTorch'])} steps: {furthest:.1e}")
assert furthest < 1e-3

# %% tags=["remove-input"]
from matplotlib.figure import Figure

figure = Figure(figsize=(6.5, 3.2), layout="constrained")
axes = figure.subplots()
styles = (("#56B4E9", 6, "-"), ("#0072B2", 3, "-"), ("#D55E00", 1.5, "--"))
for (name, values), (color, width, style) in zip(curves.items(), styles, strict=True):
    axes.plot(values, style, color=color, linewidth=width, label=name)
axes.set(xlabel="step", ylabel="loss", title="Three curves, one on top of the other")
axes.legend()
picture(figure, "The losses of the function, of Linen and of PyTorch over 92 steps are one curve")

# %% [markdown]
# ## Parity
#
# Equal curves are a good sign and no proof: a wrong gradient for a few weights would hardly show. `parity.check` feeds
# both modules the same numbers in `float64` and compares every output and every gradient:

# %%
report = parity.check(net, model, batch.inputs)
for result in report.results:
    print(f"{result.check:22}{result.error:9.1e}  bound {result.bound:.0e}")
assert report.ok

# %% [markdown]
# In `float64` numbers have 16 digits. Rounding is about 1e-16, and a mistake is as large as ever, so the gap between
# the two is wide. "bound" is where the check draws the line.
#
# ## Exercises
#
# As in lesson 1: `from exercises import check`, then `check(2, 1, my_function)`.
#
# 1. **Count.** Write `count(params)`: the number of weights in a tree of any nesting. `jax.tree.leaves` lists leaves.
# 2. **The hardest examples.** Write `norms(loss_of_one, params, inputs, labels)`: for each example the length of its
#    gradient, the root of the sum of the squares of all leaves, (N,). Use `vmap`.
# 3. **From an object to a function.** An object keeps the running mean of all numbers that it was given. Write it as
#    `running_mean(state, x)`, which returns the new state and the mean; the first state is `(0.0, 0)`, sum and count.
#    It must work when compiled.

# %% tags=["remove-input"]
solutions("02_functions")

# %% [markdown]
# Next: [the training step](03_training_step.py), with everything that `optimizer.step()` hides.
