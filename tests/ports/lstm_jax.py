"""The same in Flax Linen: `nn.RNN` of `OptimizedLSTMCell`, which has one bias where PyTorch has two."""

import flax.linen as nn
import jax
import numpy as np


class Recurrent(nn.Module):
    hidden: int = 12
    classes: int = 4

    def setup(self):
        self.first = nn.RNN(nn.OptimizedLSTMCell(self.hidden))
        self.second = nn.RNN(nn.OptimizedLSTMCell(self.hidden), return_carry=True)
        self.classifier = nn.Dense(self.classes)

    def __call__(self, sequence):
        y: jax.Array = self.first(sequence)  # type: ignore[assignment]
        (memory, _), y = self.second(y)
        y = y[:, -1]
        return self.classifier(y), memory


def make():
    return Recurrent()


def weights(state):
    leaves = {
        "params/classifier/kernel": state["fc.weight"].T,
        "params/classifier/bias": state["fc.bias"],
    }
    for layer, name in enumerate(("first", "second")):
        given = np.split(state[f"lstm.weight_ih_l{layer}"], 4)
        carried = np.split(state[f"lstm.weight_hh_l{layer}"], 4)
        biases = np.split(state[f"lstm.bias_ih_l{layer}"] + state[f"lstm.bias_hh_l{layer}"], 4)
        for gate, w, u, b in zip("ifgo", given, carried, biases, strict=True):
            leaves[f"params/{name}/cell/i{gate}/kernel"] = w.T
            leaves[f"params/{name}/cell/h{gate}/kernel"] = u.T
            leaves[f"params/{name}/cell/h{gate}/bias"] = b
    return leaves
