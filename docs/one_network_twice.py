# %% [markdown]
# # One network, written twice
#
# This lesson runs LeNet-5 in Flax and in PyTorch with the same weights and shows how to verify that both are *the
# same* network. Open `jaxnets/models/lenet5.py` beside `torchnets/models/lenet5.py`, and `jaxnets/step.py` beside
# `torchnets/step.py`: the two files of a pair have the same structure and order, so every difference is one between
# the frameworks.

# %%
import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import linen as nn

import jaxnets
import parity
import torchnets
from data import Batch, Loader, fit_to, load
from experiment.config import Config
from jaxnets.layers import conv2d, linear
from jaxnets.optimizers import make_optimizer
from jaxnets.step import eval_step, init_state, train_step
from torchnets.step import train_step as torch_train_step
from torchnets.tensors import as_tensor, as_tensors

entry = jaxnets.MODELS["lenet5"]
torch.manual_seed(0)
model, net = entry.build(), torchnets.MODELS["lenet5"].build()

# %% [markdown]
# ## The data are the same numbers
#
# One loader feeds both. It yields channels-last numpy arrays, which JAX uses directly. PyTorch gets a *view* of the
# same memory, since its `channels_last` format has the same layout.

# %%
dataset, note = fit_to(load("digits"), entry.input_shape)
loader = Loader(dataset.train, dataset.mean, dataset.std, batch_size=32, seed=0)
batch = next(loader.epoch(0))
view = as_tensor(batch.inputs)
print(note)
print(batch.inputs.shape, "->", tuple(view.shape), "shared memory:", view.data_ptr() == batch.inputs.ctypes.data)

# %% [markdown]
# ## The weights are the same numbers
#
# A Flax module holds no weights. They are a nested dict, an argument of `apply`, so copying them from PyTorch needs
# only names and one transpose rule: a convolution's kernel is (out, in, H, W) in PyTorch and (H, W, in, out) in
# Flax.

# %%
variables = parity.to_flax(net.state_dict())
print(jax.tree.map(jnp.shape, variables["params"]["conv1"]), tuple(net.conv1.weight.shape))

# %% [markdown]
# ## Are the outputs the same numbers?
#
# In float32, two correct implementations differ by rounding, about 1e-7. A wrong one may differ by 1e-3, or only
# after the first training step. In float64, rounding is about 1e-16 while a bug is as large as before, so the gap
# between them is wide. `parity.check` compares every layer, gradient and statistic in float64.

# %%
logits = eval_step(model, variables, batch.inputs)
reference = net.eval()(view).detach().numpy()
print("float32:", np.linalg.norm(logits - reference) / np.linalg.norm(reference))
report = parity.check(net, model, batch.inputs)
for result in report.results:
    print(f"{result.check:22}{result.error:9.1e}  bound {result.bound:.0e}")
assert report.ok

# %% [markdown]
# ## A training step, with its state in the open
#
# PyTorch's step modifies the module and the optimizer. The Flax step is a function from state and batch to new state
# and metrics. It can therefore be compiled, repeated, resumed and compared.

# %%
tx = make_optimizer(Config(lr=0.01, schedule="constant"), steps=1)
state = init_state(tx, variables, seed=0)
new_state, metrics = jax.jit(lambda state, batch: train_step(model, tx, state, batch))(state, batch)
optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
torch_metrics = torch_train_step(net, optimizer, as_tensors(Batch(batch.inputs, batch.labels)))
print("loss:", float(metrics["loss"]), float(torch_metrics["loss"]))
print("the old state is still there, step", int(state.step), "and the new one is at step", int(new_state.step))

# %% [markdown]
# ## What a porting bug looks like
#
# A classic bug: the feature maps are flattened in memory order, (H, W, C), although the linear layer after them has
# weights for (C, H, W). Shapes and parameter counts agree. `parity` reports the layer and the likely cause.


# %%
class Right(torch.nn.Module):
    """Convolution and linear layer: (N, 1, 8, 8) to logits (N, 10)."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 4, 3)
        self.fc = torch.nn.Linear(144, 10)

    def forward(self, x):
        """Return logits."""
        return self.fc(torch.flatten(self.conv(x), 1))


class Wrong(nn.Module):
    """The same network, flattened in the wrong order; `jaxnets.layers.flatten` uses the right one."""

    def setup(self):
        self.conv = conv2d(1, 4, 3)
        self.fc = linear(144, 10)

    def __call__(self, x):
        """Return logits."""
        x = self.conv(x)
        return self.fc(x.reshape(len(x), -1))


report = parity.check(Right(), Wrong(), np.random.default_rng(0).normal(size=(4, 8, 8, 1)))
assert not report.ok
print(report.failures[0].layer, "|", report.failures[0].diagnosis)
