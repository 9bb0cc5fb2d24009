# %% [markdown]
# # 13. Port your own model
#
# **You will be able to** turn a PyTorch file into a Flax one; find what differs, to the line; carry trained weights
# across; and leave two things in your repository: a function that converts the weights without this project, and a
# test that fails when one of the two files changes without the other.
#
# **You need** [lesson 11](11_traps.py). Lesson [2](02_functions.py) has the basics of Flax.
#
# ## Follow along
#
# You can do all of this in a folder of your own. In the clone of the project, with its environment activated
# (`. .venv/bin/activate`) and PyTorch installed (`pip install -c constraints.txt -e '.[torch]'`):
#
# ```sh
# mkdir ~/port
# cp docs/lessons/port/my_torch.py docs/lessons/port/draft.py docs/lessons/port/my_flax.py ~/port
# cp docs/lessons/port/test_port.py ~/port
# cd ~/port
# ```
#
# Every command below was run like this when the page was built, and what it printed is shown.

# %% tags=["remove-input"]
import os
import shutil
import sys
import tempfile
from pathlib import Path

from show import ROOT, picture, side_by_side, solutions, source
from terminal import run

files = ROOT / "docs" / "lessons" / "port"
folder = Path(tempfile.mkdtemp(prefix="port-"))
for path in sorted(files.glob("*.py")):
    shutil.copy(path, folder)
os.chdir(folder)
sys.path.insert(0, str(folder))

# %% [markdown]
# ## The model
#
# `my_torch.py` has the model. A convolution with stride 2 makes 4x4 positions of the 8x8 pixels of a digit, a second
# one mixes neighbors, and after a mean over all positions an MLP decides.

# %% tags=["remove-input"]
import draft
import my_flax
import my_torch

source(my_torch)

# %% [markdown]
# ## A first draft
#
# Write the Flax file from top to bottom, and for each layer take the one that has the same name. Three things always
# change:
#
# - Images are channels last, (N, H, W, C). So the mean over all positions is over the axes 1 and 2, not 2 and 3.
# - Layers are made where they are used, under `@nn.compact`, or in `setup`. Only outputs have a size; inputs are seen
#   when it runs.
# - What depends on training, such as dropout or BatchNorm, is told by an argument `train`. Nothing here does.
#
# The names of the layers need not be the same. Here Flax makes them: `Conv_0`, `Dense_0` and so on.

# %% tags=["remove-input"]
side_by_side(draft.Net, my_torch.Net, titles=("draft, Flax", "PyTorch"))

# %% [markdown]
# It runs, the shapes are right, and so is the number of weights. Is it finished?
#
# ## The check
#
# `--input 8,8,8,1` says what the model is called with: 8 examples of 8x8 pixels and one channel, channels last.
#
# ```sh
# python -m parity check my_torch.py:Net draft.py:Net --input 8,8,8,1 --json draft.json
# ```

# %% tags=["remove-input"]
run("python -m parity check my_torch.py:Net draft.py:Net --input 8,8,8,1 --json draft.json", folder, status=1)

# %% [markdown]
# Read it from the top.
#
# 1. *layers* says which layer is which. Names, shapes, and if need be the numbers that flow in decide. Look at the
#    last two rows: Flax calls the *head* `Dense_0`, since Python makes `nn.Dense(10)` before it evaluates its
#    argument. Whoever copies weights in order has them swapped here (trap 24).
# 2. The table of checks says what fails, and by how much. Errors are relative, and computed in float64. A port that is
#    right has 1e-15 there. The number of weights agrees; that proves nothing.
# 3. The last lines say where: the first layer that differs, what it looks like if a known mistake gives exactly Flax's
#    numbers, one of the numbers on both sides, and the lines of both files. "Of themselves wrong, too" are layers that
#    differ although they are given PyTorch's inputs: other faults. GELU has no weights and so no name. It is counted
#    to the layer that it feeds.
#
# Mend the first fault, check again, and the next one is named. After three rounds you have found them all, and all are
# defaults: the arguments that were *not* written.
#
# | line | PyTorch | Flax's default | trap |
# | --- | --- | --- | --- |
# | the first convolution | `padding=1` is a pixel on each side | `"SAME"`: at stride 2 none before and one after | 4 |
# | GELU, three times | exact | an approximation | 12 |
# | LayerNorm | epsilon 1e-5 | epsilon 1e-6 | 2 |
#
# The second convolution has no padding written either, and is right: at stride 1 `"SAME"` is one pixel on each side.

# %% [markdown]
# ## The port
#
# So write the arguments. These are all the changes:

# %% tags=["remove-input"]
side_by_side(draft, my_flax, titles=("draft", "port"))

# %% [markdown]
# ```sh
# python -m parity check my_torch.py:Net my_flax.py:Net --input 8,8,8,1 --json port.json
# ```

# %% tags=["remove-input"]
run("python -m parity check my_torch.py:Net my_flax.py:Net --input 8,8,8,1 --json port.json", folder)

# %% tags=["remove-input"]
import json

from matplotlib.figure import Figure

reports = {}
for name in ("draft", "port"):
    (report,) = json.loads((folder / f"{name}.json").read_text())
    reports[name] = {one["check"]: one for one in report["checks"]}
checks = [name for name, one in reports["port"].items() if one["bound"] and one["error"]]
figure = Figure(figsize=(7.5, 3.2), layout="constrained")
axes = figure.subplots()
for row, check in enumerate(checks):
    axes.plot([reports["port"][check]["bound"]] * 2, [-row - 0.3, -row + 0.3], color="0.3", linewidth=2)
    for name, color, marker in (("draft", "#D55E00", "s"), ("port", "#0072B2", "o")):
        if check in reports[name] and reports[name][check]["error"]:
            label = name if row == 0 else None
            axes.plot(max(reports[name][check]["error"], 1e-17), -row, marker, color=color, label=label)
axes.set(xscale="log", xlabel="error", title="Each check: draft, port, and the bound (vertical line)")
axes.set_yticks([-row for row in range(len(checks))], checks)
axes.grid(axis="x", alpha=0.3)
axes.legend()
picture(figure, "The error of each check on a log axis: the draft's lie far right of the bounds, the port's far left")

# %% [markdown]
# Everything agrees, forward and backward. There is nothing between the two groups of points, so where the bound is
# drawn hardly matters.
#
# A network with BatchNorm has one more decision to make. Flax's keeps the *biased* variance (trap 1), and the check
# fails at *BatchNorm statistics*. To train in Flax exactly as in PyTorch, use a BatchNorm that does the same, such as
# the one in `jaxnets/layers.py`. To use trained weights only, say that you know: `--accept trap-1`.
#
# ## Trained weights
#
# A port without weights is half a port. Train the PyTorch model; any file of `torch.save` will do. Here this project's
# trainer does it, which takes networks of your own:
#
# ```sh
# python -m torchnets.train --model my_torch.py:Net --dataset digits --epochs 6 --lr 0.01 --out trained
# ```

# %% tags=["remove-input"]
run(
    "python -m torchnets.train --model my_torch.py:Net --dataset digits --epochs 6 --lr 0.01 --out trained",
    folder,
    most=15,
)

# %% [markdown]
# Now carry them across. `parity convert` proves the port once more, since a file that is converted by a wrong rule is
# worse than none. `--emit` also writes the conversion as a function; more of that below.
#
# ```sh
# python -m parity convert my_torch.py:Net my_flax.py:Net --input 8,8,8,1 \
#     --weights trained net.safetensors --emit convert_net.py
# ```

# %% tags=["remove-input"]
run(
    "python -m parity convert my_torch.py:Net my_flax.py:Net --input 8,8,8,1 --weights trained net.safetensors"
    " --emit convert_net.py",
    folder,
)

# %% [markdown]
# Does it work? Evaluate the Flax model with the converted weights, on the same test images:
#
# ```sh
# python -m jaxnets.evaluate --model my_flax.py:Net --weights net.safetensors --dataset digits
# ```

# %% tags=["remove-input"]
run("python -m jaxnets.evaluate --model my_flax.py:Net --weights net.safetensors --dataset digits", folder, most=8)

# %% [markdown]
# The same loss and the same number of right answers as at the end of the training above. In a program of yours, the
# file is a dict of arrays by path, and Flax unflattens it:

# %%
from typing import Any

import my_flax
import numpy as np
from flax.traverse_util import unflatten_dict
from safetensors.numpy import load_file

from data import load

variables = unflatten_dict(load_file("net.safetensors"), sep="/")
digits = load("digits")
inputs = (digits.test.inputs / np.float32(255) - digits.mean) / digits.std  # as in training
logits: Any = my_flax.Net().apply(variables, inputs)
print("right:", int((np.argmax(logits, axis=1) == digits.test.labels).sum()), "of", len(digits.test.labels))

# %% [markdown]
# ## What stays: a function
#
# `convert_net.py` needs numpy and einops, and neither PyTorch nor this project. Put it beside your model, and anyone
# can convert weights. Here is its heart; read how each kernel gets its new order of axes, and which key feeds
# `Dense_0`:

# %% tags=["remove-input"]
text = (folder / "convert_net.py").read_text()
start = text.index("def convert_net")
print(text[start:].rstrip())

# %%
from importlib import import_module

import my_torch
import torch

convert_net = import_module("convert_net").convert_net  # the file that was just written

torch.manual_seed(1)
net = my_torch.Net().eval()  # other weights: those of another training, for example
state = {name: tensor.numpy() for name, tensor in net.state_dict().items()}
found: Any = my_flax.Net().apply(convert_net(state), inputs)
with torch.no_grad():
    expected = net(torch.from_numpy(inputs).permute(0, 3, 1, 2)).numpy()
print(f"relative difference: {np.linalg.norm(found - expected) / np.linalg.norm(expected):.0e}")
assert np.allclose(found, expected, atol=1e-4)

# %% [markdown]
# ## What stays: a test
#
# Files change. Somebody will add a dropout to the one and not to the other. This test says so, with the whole report
# as its message. `pip install pytest`, then `python -m pytest test_port.py`:

# %% tags=["remove-input"]
print((folder / "test_port.py").read_text().rstrip())

# %% [markdown]
# ## Where to read on
#
# - [Checking any port](../ports.md): several inputs, masks, integers, NNX, Equinox, Haiku, and how the rules are
#   found.
# - [Converting](../convert.md): all formats, rules that you write yourself, the way back to PyTorch.
# - [Checking a whole training](../check_training.md): optimizer, schedule, clipping, averages.
#
# ## Exercises
#
# As in lesson 1: start `ipython` in `docs/lessons` of the clone, `from exercises import check`, then
# `check(13, 1, my_answer)`.
#
# 1. **Port it.** `TorchBlock` is in `docs/lessons/solutions/13_port_your_own.py`, on top: a grouped convolution,
#    GroupNorm, LeakyReLU, a linear layer. Write `FlaxBlock`, a module without arguments, for images (N, 8, 8, 4).
#    Every layer has a default that differs.
# 2. **A rule by hand.** PyTorch's `nn.MultiheadAttention(32, 4)` keeps the weights of query, key and value in one
#    array `in_proj_weight` (96, 32). Flax has three, (32, 4, 8): input, head, number. Write `key_rule()`, which
#    returns the `parity.mapping.Rule` for the key's. [Converting](../convert.md) has the words.
# 3. **By hand, without rules.** A model is `conv` (3x3, 2 to 4 channels), flatten, `fc`. The Flax model flattens by
#    `reshape`, channels last. Write `convert(state)` for 5x5 positions after `conv`: a dict of numpy arrays in
#    PyTorch's layout, `"conv.weight"` and so on, becomes `{"conv": {"kernel", "bias"}, "fc": {"kernel", "bias"}}`.

# %% tags=["remove-input"]
solutions("13_port_your_own")

# %% [markdown]
# This is the last lesson. The [networks](../networks.md) and the [traps](../traps.md) are worth reading next, each
# beside the code that it names.
