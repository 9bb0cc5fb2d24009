# %% [markdown]
# # 3. The training step
#
# **You will be able to** list everything that changes in a training step, in both frameworks; write an optimizer as
# two functions; draw random numbers that do not depend on what was drawn before; and stop, repeat and resume a
# training without changing its result.
#
# **You need** [lesson 2](02_functions.py): a tree of weights, a pure function, `grad` and `jit`.
#
# ## One step, two styles
#
# Here is the step that trains all networks of this project, in both frameworks.

# %% tags=["remove-input"]
from show import picture, side_by_side, solutions, source

import jaxnets.step
import torchnets.step

side_by_side(jaxnets.step.train_step, torchnets.step.train_step)

# %% [markdown]
# Read the signatures first. The left one takes a *state* and a batch and returns a *new state* and metrics. The right
# one takes a batch and returns metrics; what else it does, the signature does not say. This lesson looks for it.
#
# ## What `optimizer.step()` hides
#
# Take a network with everything that can change: weights, BatchNorm and dropout. *BatchNorm* normalizes the values
# inside the network by the mean and variance of the batch, and keeps a running average of both for later. *Dropout*
# sets random values to 0, so that no weight can rely on a single other one.

# %%
import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

import jaxnets.models.ann
import jaxnets.step
import parity
import torchnets.models.ann
import torchnets.step
from data import Batch, Loader, fit_to, load
from torchnets.tensors import as_tensors, as_views

dataset, _ = fit_to(load("digits"), (28, 28, 1))
loader = Loader(dataset.train, dataset.mean, dataset.std, batch_size=64, seed=0)
batch = next(loader.epoch(0))

torch.manual_seed(0)
net = torchnets.build("ann")  # 784-128-64-10 with BatchNorm, ReLU and dropout
start = {name: value.clone() for name, value in net.state_dict().items()}
optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)

# %% [markdown]
# Now note everything there is, take one step, and look at what has changed:

# %%
net.eval()
random_before = torch.get_rng_state()
mode_before, slots_before = net.training, len(optimizer.state)
metrics = torchnets.step.train_step(net, optimizer, as_tensors(batch))

kinds = {"weights": net.named_parameters(), "statistics": net.named_buffers()}
for kind, tensors in kinds.items():
    print(f"{kind} changed:", [name for name, value in tensors if not torch.equal(value, start[name])])
print("gradients:", all(p.grad is not None for p in net.parameters()), "- kept in the weights")
print("mode:", "training" if mode_before else "evaluation", "->", "training" if net.training else "evaluation")
print(
    "optimizer's memory:",
    slots_before,
    "->",
    len(optimizer.state),
    "weights have",
    list(optimizer.state_dict()["state"][0]),
)
print("global random generator moved:", not torch.equal(random_before, torch.get_rng_state()))

# %% [markdown]
# Six things changed, and `optimizer.step()` names none of them:
#
# | what | where PyTorch keeps it | where JAX keeps it |
# | --- | --- | --- |
# | weights | in the module, changed in place | `state.variables["params"]` |
# | BatchNorm's averages | in the module's buffers, changed by *calling* it | `state.variables["batch_stats"]` |
# | gradients | in `p.grad` of every weight, until `zero_grad` | a local variable of the step |
# | training or evaluation | in the module, `net.training` | an argument, `train=True` |
# | the optimizer's memory and step count | in the optimizer | `state.opt_state`, `state.step` |
# | random numbers | in one generator for the whole process | `state.key` |
#
# Nothing is wrong with that; it is how PyTorch lets you write so little. It also explains its best-known mistakes: a
# forgotten `zero_grad` adds up gradients, a forgotten `eval()` changes the statistics during the test, and a resumed
# training without the generator's state is another training.
#
# ## The state in the open
#
# In JAX all of this is one tree:

# %% tags=["remove-input"]
source(jaxnets.step.TrainState)

# %%
from jaxnets.step import init_state, train_step

model = jaxnets.build("ann")
variables = jax.tree.map(jnp.asarray, parity.to_flax({name: value.numpy() for name, value in start.items()}))
tx = optax.adam(1e-3)
state = init_state(tx, variables, seed=0)
step = jax.jit(lambda state, batch: train_step(model, tx, state, batch))

new_state, metrics = step(state, batch)
again, _ = step(state, batch)
print("old state: step", int(state.step), " new state: step", int(new_state.step))
same = jax.tree.map(lambda a, b: bool((a == b).all()), new_state.variables, again.variables)
print("the same step from the same state gives the same weights, bit for bit:", all(jax.tree.leaves(same)))

# %% [markdown]
# The old state is still there, and the step can be taken again, with the same dropout. A state can be saved, sent to
# another machine, compared with that of another framework, or kept in case the next one is bad. Such a program needs
# no special support for any of it: the state is only data.
#
# Two lines of `train_step` deserve a second look.
#
# - `model.apply(..., mutable=["batch_stats"])` returns *two* results: the logits, and the new statistics. A pure
#   function cannot store them on the way.
# - `grad(objective, has_aux=True)` differentiates the first part of the result, the loss, and passes the rest on: the
#   statistics and metrics have been computed anyway.
#
# ## An optimizer is two functions
#
# optax, JAX's library of optimizers, has no objects either. An optimizer is a pair of functions, called a *gradient
# transformation*:
#
# - `init(params)` returns its memory before the first step, its *state*;
# - `update(updates, state, params)` is given gradients and returns what to *add* to the weights, and the new state.
#   Both go by the name "updates", because the results of one transformation can be the input of the next.
#
# Here is SGD with momentum. It keeps a moving sum $m \leftarrow \beta m + g$ of the gradients and goes against it:


# %%
def momentum(rate, beta):
    def init(params):
        return jax.tree.map(jnp.zeros_like, params)

    def update(updates, state, params=None):  # exercise 1 needs the weights
        state = jax.tree.map(lambda m, g: beta * m + g, state, updates)
        return jax.tree.map(lambda m: -rate * m, state), state

    return optax.GradientTransformation(init, update)


def three_steps(tx):
    step = jax.jit(lambda state, batch: train_step(model, tx, state, batch))
    state = init_state(tx, variables, seed=0)
    for batch in list(loader.epoch(0))[:3]:
        state, _ = step(state, batch)
    return state.variables["params"]


mine, theirs = three_steps(momentum(0.1, 0.9)), three_steps(optax.sgd(0.1, momentum=0.9))
apart = max(jax.tree.leaves(jax.tree.map(lambda a, b: float(abs(a - b).max()), mine, theirs)))
print(f"after three steps, mine and optax's weights differ by {apart:.1e}")
assert apart < 1e-6

# %% [markdown]
# Because they are functions, they can be chained: `optax.chain(optax.clip_by_global_norm(1.0),
# optax.adam(1e-3))` clips, then adapts. All options of this project's trainer are made that way, around the step and
# not inside it. These are its optimizers, each put together so that it does what PyTorch's does:

# %% tags=["remove-input"]
import jaxnets.optimizers
import torchnets.optimizers

side_by_side(jaxnets.optimizers.make_optimizer, torchnets.optimizers.make_optimizer)

# %% [markdown]
# "Trap 13" and so on are rows of [a list](../traps.md) of all places where the frameworks differ without saying so.
#
# ## Random numbers without memory
#
# A usual random generator has a memory. What it gives depends on how often it was asked:

# %%
torch.manual_seed(0)
first = torch.rand(1).item()
torch.manual_seed(0)
torch.rand(5)  # somebody else draws, too
print("torch:", first, "or", torch.rand(1).item())

# %% [markdown]
# In JAX the memory is an argument, the **key**. The same key gives the same numbers, always. For other numbers you
# make another key: `fold_in(key, 7)` is a new key made of a key and a number.

# %%
key = jax.random.key(0)
print("jax:  ", jax.random.uniform(key), "and", jax.random.uniform(key), "- the same key")
print(
    "step 7:",
    jax.random.uniform(jax.random.fold_in(key, 7)),
    " step 8:",
    jax.random.uniform(jax.random.fold_in(key, 8)),
)

# %% [markdown]
# `train_step` folds in the number of the step. So the dropout of step 7 depends on the seed and on 7, not on how the
# steps before were made, as the order of the examples in lesson 1 depends on `[seed, epoch]`. That is why a training
# can be cut anywhere. Here it is cut after ten steps; only the state is carried over:

# %%
batches = list(loader.epoch(0))[:20]
through = state
for batch in batches:
    through, _ = step(through, batch)

half = state
for batch in batches[:10]:
    half, _ = step(half, batch)
saved = jax.tree.map(np.asarray, half._replace(key=jax.random.key_data(half.key)))  # numpy arrays: could go to a file
resumed = jax.tree.map(jnp.asarray, saved)
resumed = resumed._replace(key=jax.random.wrap_key_data(resumed.key))
for batch in batches[10:]:
    resumed, _ = step(resumed, batch)
same = jax.tree.map(lambda a, b: bool((a == b).all()), through.variables, resumed.variables)
print("20 steps, and 10 steps, saved, 10 steps: same weights, bit for bit:", all(jax.tree.leaves(same)))
assert all(jax.tree.leaves(same))

# %% [markdown]
# ## Both frameworks, step by step
#
# Now train both from the same weights on the same batches. Dropout is off for this comparison: the two frameworks draw
# different random numbers, so with dropout they would be two trainings of the same kind, but not the same training.

# %%
plain_model = jaxnets.models.ann.ANN(dropout=0.0)
tx = optax.sgd(0.05, momentum=0.9)


def losses_of_both(dtype):
    """Train both for four epochs in this precision; return the losses, (steps, 2)."""
    net = torchnets.models.ann.ANN(dropout=0.0)
    net.load_state_dict(start)
    net.to(torch.float64 if dtype is np.float64 else torch.float32)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    losses = []
    with jax.enable_x64(dtype is np.float64):
        state = init_state(tx, jax.tree.map(jnp.array, parity.to_flax(net.state_dict())), seed=0)
        step = jax.jit(lambda state, batch: train_step(plain_model, tx, state, batch))
        for epoch in range(4):
            for batch in Loader(dataset.train, dataset.mean, dataset.std, 64, seed=0, dtype=dtype).epoch(epoch):
                state, metrics = step(state, batch)
                torch_metrics = torchnets.step.train_step(net, optimizer, as_tensors(batch))
                losses.append((float(metrics["loss"]), float(torch_metrics["loss"])))
    return np.array(losses)


single, double = losses_of_both(np.float32), losses_of_both(np.float64)
print("last losses, float32:", *single[-1])
print("last losses, float64:", *double[-1])

# %% tags=["remove-input"]
from matplotlib.figure import Figure

figure = Figure(figsize=(7.5, 3), layout="constrained")
left, right = figure.subplots(1, 2)
left.plot(single[:, 0], color="#0072B2", linewidth=3, label="JAX")
left.plot(single[:, 1], "--", color="#D55E00", linewidth=1.5, label="PyTorch")
left.set(xlabel="step", ylabel="loss", title="The losses in float32 ...")
left.legend()
for losses, color, marker, name in ((single, "#D55E00", "o", "float32"), (double, "#009E73", "^", "float64")):
    apart = np.maximum(abs(losses[:, 0] - losses[:, 1]), 1e-17)
    right.semilogy(apart, marker, color=color, markersize=3, label=name)
right.set(xlabel="step", ylabel="difference", title="... and how far they are apart")
right.legend()
picture(
    figure,
    "Left: the losses of both frameworks over 92 steps look like one curve. Right: in float32 their difference grows "
    "from 1e-7 to 1e-2, in float64 it stays far smaller",
)

# %% [markdown]
# The left picture would convince many people. The right one shows what there is to see. In `float32` the two begin
# 1e-7 apart, which is rounding. Then, when these lines were written at step 7, one of 8,192 values in front of a ReLU
# was so near to 0 that rounding decided its sign. One framework passed its gradient on and the other did not, one
# unit got other weights, and from there it went fast. After 92 steps the losses agree to two digits. Is that rounding,
# or is a small mistake hidden in it? `float32` cannot tell. `float64` can: it is the same code, and the difference
# stays at 1e-16.
#
# ## Parity: the whole training, stage by stage
#
# `parity.check_training` trains both sides in `float64`, and before each step it puts PyTorch's weights and the memory
# of its optimizer into JAX's state. Rounding cannot add up then, and every stage is compared by itself.


# %%
def torch_training():
    net = torchnets.models.ann.ANN(dropout=0.0)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)

    def step(x, y):
        return torchnets.step.train_step(net, optimizer, as_views(torch.as_tensor(x), torch.as_tensor(y)))["loss"]

    return net, step


def jax_training():
    variables = plain_model.init(jax.random.key(0), np.zeros((1, 28, 28, 1)))
    state = init_state(tx, dict(variables), seed=0)

    def step(state, x, y):
        state, metrics = train_step(plain_model, tx, state, Batch(x, y))
        return state, metrics["loss"]

    return state, step


report = parity.check_training(torch_training, jax_training, batches[:3])
for stage in report.stages:
    print(f"{stage.stage:12}{stage.error:9.1e}  bound {stage.bound:.0e}")
assert report.ok

# %% [markdown]
# ## Exercises
#
# `from exercises import check`, then `check(3, 1, my_function)`.
#
# 1. **Decay.** Write `decayed(rate, decay)`: a gradient transformation that is SGD with PyTorch's `weight_decay`. That
#    adds `decay * p` to the gradient of each weight `p` *before* the step.
# 2. **Dropout of a step.** Write `mask(key, step, shape, rate)`: an array of this shape that is 0 with probability
#    `rate` and $1 / (1 - \text{rate})$ otherwise, so that the mean stays 1. It depends on key and step alone, and
#    another key or another step has another mask.
# 3. **Accumulate.** A batch of 8 does not fit into memory. Write `accumulated(loss, params, x, y)`, which returns the
#    gradient of the mean loss of 8 examples, computed on two halves, one after the other.

# %% tags=["remove-input"]
solutions("03_training_step")

# %% [markdown]
# Next: [LeNet-5](04_lenet5.py), counted by hand.
