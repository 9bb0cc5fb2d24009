"""Flax's `GRUCell` as a port of PyTorch's GRU: each of two gates has one bias that is the sum of PyTorch's two."""

import flax.linen as nn
import jax
import numpy as np
import pytest
import torch

import parity


class TorchTagger(torch.nn.Module):
    """A GRU and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head = torch.nn.GRU(5, 8, batch_first=True), torch.nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the scores of every step."""
        return self.head(self.rnn(x)[0])


class FlaxTagger(nn.Module):
    """The same, both layers in one line."""

    wrong: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Return the scores of every step."""
        gate = nn.hard_sigmoid if self.wrong else nn.sigmoid
        return nn.Dense(3)(nn.RNN(nn.GRUCell(8, gate_fn=gate))(x))


@pytest.mark.slow
def test_a_gru_of_flax_is_proved_and_another_gate_is_seen() -> None:
    torch.manual_seed(0)
    module, inputs = TorchTagger(), np.random.default_rng(0).normal(size=(2, 4, 5))
    report = parity.check(module, FlaxTagger(), inputs, purpose="inference")
    assert report.ok, report.failures
    report = parity.check(module, FlaxTagger(wrong=True), inputs, purpose="inference")
    assert not report.ok
    assert report.failures[0].stage == "forward"
