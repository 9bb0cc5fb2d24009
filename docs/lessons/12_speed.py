# %% [markdown]
# # 12. Speed
#
# **You will be able to** time a training step in both frameworks so that the figure means something; name the ways in
# which a comparison goes wrong, most of which make it *look* good; report a median and a range in place of one number;
# and say how far a figure is from what the machine could do.
#
# **You need** lessons [2](02_functions.py) (`jit`) and [3](03_training_step.py) (the training step).
#
# "JAX is twice as fast as PyTorch" is a sentence that you will hear, and its opposite. Most such figures are about a
# mistake in the measurement. This lesson makes the mistakes one after the other, then measures properly. Every figure
# on this page is from the machine that built it, and yours will be others.
#
# ## The work
#
# One training step of an MLP, with the project's own steps, on the same batch and from the same weights.

# %%
from time import perf_counter

import jax
import numpy as np
import torch

import jaxnets
import parity
import torchnets
from data import Loader, fit_to, load
from experiment.config import Config
from jaxnets.optimizers import make_optimizer
from jaxnets.step import init_state, train_step
from torchnets.step import train_step as torch_train_step
from torchnets.tensors import as_tensors

entry = jaxnets.MODELS["mlp"]
dataset, _ = fit_to(load("digits"), entry.input_shape)
batch = next(Loader(dataset.train, dataset.mean, dataset.std, batch_size=128, seed=0).epoch(0))

torch.manual_seed(0)
model, net = entry.build(), torchnets.MODELS["mlp"].build()
config = Config(optimizer="momentum", lr=1e-4, schedule="constant")
tx = make_optimizer(config, steps=1)
state = init_state(tx, parity.to_flax(net.state_dict()), seed=0)
optimizer = torch.optim.SGD(net.parameters(), lr=config.lr, momentum=config.momentum, weight_decay=config.weight_decay)
tensors = as_tensors(batch)


def flax_step(state, batch):
    """Take the project's training step."""
    return train_step(model, tx, state, batch)


fast_step = jax.jit(flax_step)

# %% [markdown]
# ## Mistake 1: two different computations
#
# Before anything is timed: is it the same computation? A network that lacks a layer is fast. So parity comes first,
# and on the device and in the precision that is timed, the first steps must agree:

# %%
report = parity.check(net, model, batch.inputs[:8])
print("same network:", report.ok, " checks:", len(report.results))
new_state, metrics = fast_step(state, batch)
torch_metrics = torch_train_step(net, optimizer, tensors)
losses = float(metrics["loss"]), float(torch_metrics["loss"])
print("first loss:", *losses)
assert report.ok
assert abs(losses[0] - losses[1]) < 1e-4

# %% [markdown]
# ## Mistake 2: timing the compiler
#
# The first call of a jitted function traces and compiles it. That takes thousands of times as long as a step, and
# happens once. It is worth a figure of its own, and in no other:

# %%
again = jax.jit(lambda state, batch: flax_step(state, batch))  # another function: compiled anew
times = []
for _ in range(4):
    start = perf_counter()
    jax.block_until_ready(again(state, batch))
    times.append(1000 * (perf_counter() - start))
print("calls 1 to 4:", *(f"{ms:.2f} ms" for ms in times))

# %% [markdown]
# ## Mistake 3: stopping the clock too early
#
# JAX returns before it has computed, so that Python can prepare what comes next. On a GPU PyTorch does the same. The
# clock must wait for the *result*: `jax.block_until_ready`, `torch.cuda.synchronize`. A large product shows it best:

# %%
big = jax.device_put(np.ones((1500, 1500), np.float32))
product = jax.jit(lambda a: a @ a @ a)
jax.block_until_ready(product(big))
start = perf_counter()
result = product(big)
early = perf_counter() - start
jax.block_until_ready(result)
late = perf_counter() - start
print(f"without waiting {1000 * early:.2f} ms, with waiting {1000 * late:.2f} ms")

# %% [markdown]
# ## Mistake 4: one number
#
# The clock measures the machine, too: other programs, a processor that gets warm, a cache that is cold. Time steps in
# *rounds* of many steps, alternate between the two sides, so that whatever changes in time hits both, and keep all the
# rounds. The project does A B B A A B B A, with a process for each framework, so that neither's threads and memory are
# in the other's way. Here both are in one process, which is good enough for a lesson.
#
# This is the project's clock. It finds out by itself how many steps make a round, so that a fast network and a slow
# one are both timed for about as long:

# %% tags=["remove-input"]
from show import picture, side_by_side, solutions, source

import parity.bench.clock

source(parity.bench.clock)

# %%
from parity.bench.clock import Timed, steps_for


def run_flax(steps):
    """Take so many steps; the clock stops when the last state is there."""
    start, current = perf_counter(), state
    for _ in range(steps):
        current, _ = fast_step(current, batch)
    jax.block_until_ready(current)
    return Timed(steps * len(batch.labels), perf_counter() - start)


def run_torch(steps):
    """Take so many steps; on a CPU PyTorch computes at once, so there is nothing to wait for."""
    start = perf_counter()
    for _ in range(steps):
        torch_train_step(net, optimizer, tensors)
    return Timed(steps * len(batch.labels), perf_counter() - start)


runs = {"Flax": run_flax, "PyTorch": run_torch}
counts = {name: steps_for(0.15, run) for name, run in runs.items()}
rounds = {name: [] for name in runs}
for turn in range(6):
    for name in list(runs) if turn % 2 == 0 else reversed(runs):
        rounds[name].append(runs[name](counts[name]).rate)
for name, rates in rounds.items():
    print(f"{name:8} median {np.median(rates):10,.0f}   lowest {min(rates):10,.0f}   highest {max(rates):10,.0f}")

# %% tags=["remove-input"]
from matplotlib.figure import Figure

figure = Figure(figsize=(6.5, 2.6), layout="constrained")
axes = figure.subplots()
for row, (rates, color, marker) in enumerate(zip(rounds.values(), ("#0072B2", "#D55E00"), "os", strict=True)):
    axes.plot(rates, [row + 0.06 * (at - 2.5) for at in range(len(rates))], marker, color=color)
    axes.plot([np.median(rates)] * 2, [row - 0.3, row + 0.3], color=color)
axes.set_yticks([0, 1], list(rounds))
axes.set(xlabel="examples per second", xlim=(0, None), ylim=(-0.5, 1.5), title="six rounds each, and their medians")
axes.grid(axis="x", alpha=0.3)
picture(figure, "Examples per second of six rounds of each framework, as dots on one axis that starts at zero")

# %% [markdown]
# The ratio is that of the medians. Its range is that of the rounds of the same turn, since those had the same machine:

# %%
ratios = [a / b for a, b in zip(rounds["Flax"], rounds["PyTorch"], strict=True)]
ratio = np.median(rounds["Flax"]) / np.median(rounds["PyTorch"])
print(f"Flax over PyTorch: {ratio:.2f} ({min(ratios):.2f}, {max(ratios):.2f})")

# %% [markdown]
# If the range contains 1, neither is faster, whatever the median says. If it is wide, something else was running:
# threads that share a core wait for each other, and then a figure is about the neighbors. Measure again when it is
# quiet.
#
# ## Mistake 5: a strong side and a weak one
#
# Whoever knows one framework better measures it at its best and the other as it comes. What belongs to "its best"?
#
# - PyTorch: `torch.compile`, the layout of the images (`channels_last`), the number of threads. On a GPU CUDA graphs.
# - JAX: `jit` around the *whole* step, not only around the network; donated buffers; on a GPU several steps in one
#   call.
# - Both: the same precision. TF32 on one side only is a factor of its own.
#
# How many threads are best for a small network? Not always all of them:

# %%
threads = torch.get_num_threads()
for number in sorted({1, threads}):
    torch.set_num_threads(number)
    run_torch(5)
    rate = max(run_torch(counts["PyTorch"] // 2 + 1).rate for _ in range(3))
    print(f"PyTorch with {number} thread{'s' if number > 1 else ''}: {rate:10,.0f} examples/s")
torch.set_num_threads(threads)

# %% [markdown]
# `python -m parity bench` tries all of these for PyTorch, takes the best for each network, and says what it took
# ([the benchmark](../benchmark.md)).
#
# ## Mistake 6: forgetting the rest
#
# A step is not a training. The batches have to come from somewhere, and a loader that is too slow makes every
# framework equally fast. So there are two figures, with batches on the device and end to end; and Amdahl's law says
# which one you will notice. If the step is three quarters of the time and becomes twice as fast, the training becomes
# 1.6 times as fast, not twice.
#
# ## Is it fast?
#
# A ratio compares two programs, and both may be slow. The **roofline** compares with the machine. A step has to
# compute its products and to move its bytes; it cannot be faster than either allows. Count the products of an MLP,
# measure how many products this machine manages, and divide:

# %%
from jaxnets.model_summary import summarize

flops = 3 * len(batch.labels) * sum(layer.flops for layer in summarize(entry))  # forward, and twice backward
side = 1500
peak = 2 * 2 * side**3 / parity.bench.clock.best_seconds(lambda: jax.block_until_ready(product(big)), 1.5)
least = flops / peak
print(f"a step has {flops / 1e9:.3f} GFLOP; this machine manages {peak / 1e9:,.0f} GFLOP/s")
for name, rates in rounds.items():
    seconds = len(batch.labels) / np.median(rates)
    print(f"{name:8}{1000 * seconds:6.2f} ms a step, at least {1000 * least:.2f} ms: {least / seconds:.0%} of it")

# %% [markdown]
# A share above 100% cannot be: then the machine was busier when its peak was measured than when the steps were.
#
# How near a step comes depends on its size. With few examples in a batch, most of the time goes into starting
# operations, and not into products. The same two steps at other batch sizes:

# %%
BATCH_SIZES = (8, 32, 128, 512)
by_size = {name: [] for name in runs}
for size in BATCH_SIZES:
    batch = next(Loader(dataset.train, dataset.mean, dataset.std, size, seed=0).epoch(0))  # what both runs read
    tensors = as_tensors(batch)
    for name, run in runs.items():
        run(2)  # compiles for this size
        steps = steps_for(0.05, run)
        by_size[name].append(max(run(steps).rate for _ in range(5)))  # the best: a look, not a comparison
for name, rates in by_size.items():
    print(f"{name:8}", *(f"{rate:10,.0f}" for rate in rates), "examples/s")

# %% tags=["remove-input"]
figure = Figure(figsize=(6.5, 3.2), layout="constrained")
axes = figure.subplots()
for (name, rates), color, marker in zip(by_size.items(), ("#0072B2", "#D55E00"), "os", strict=True):
    axes.plot(BATCH_SIZES, rates, marker=marker, color=color, label=name)
axes.axhline(128 / least, color="0.4", linestyle="--", linewidth=1, label="roofline")
axes.set(xscale="log", yscale="log", xlabel="batch size", ylabel="examples per second")
axes.set_xticks(BATCH_SIZES, [str(size) for size in BATCH_SIZES])
axes.minorticks_off()
axes.grid(alpha=0.3)
axes.legend()
picture(
    figure,
    "Examples per second of both frameworks against the batch size, on log axes; the roofline is a dashed line",
)

# %% [markdown]
# So there is no such thing as *the* ratio of two frameworks. There is one for each network, batch size and machine. In
# small batches the cost of starting operations decides, and that is where compiling helps. In large ones both
# frameworks call the same kind of library for the same products, and there is little left to differ in.
#
# Both steps, once more, side by side. What is timed is no more than this:

# %% tags=["remove-input"]
side_by_side(train_step, torch_train_step)

# %% [markdown]
# ## Parity
#
# It came first on this page, and that is the point. [Speed](../speed.md) has careful figures, with their ranges, and
# says where Flax is slower.
#
# ## Exercises
#
# `from exercises import check`, then `check(12, 1, my_function)`.
#
# 1. **Report.** Write `summary(a, b)` for the rates of two sides in rounds of the same turns: the ratio of the
#    medians, and the lowest and highest ratio of a turn.
# 2. **A clock.** Write `seconds_per_step(step, state, steps, clock, wait)`: call `state = step(state)` once to warm
#    up, then `steps` times; `clock()` returns the time, `wait(state)` waits for a result. What is waited for, and
#    when?
# 3. **Amdahl.** Write `speedup(share, factor)`: how much faster the whole becomes if a part that has `share` of the
#    time becomes `factor` times as fast.

# %% tags=["remove-input"]
solutions("12_speed")

# %% [markdown]
# Next: [port your own model](13_port_your_own.py).
