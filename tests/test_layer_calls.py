"""The check of layers: calls are numbered by one rule on both sides, and numbers are compared as numbers."""

import flax.linen as nn
import numpy as np
import pytest
import torch

from parity.checks import layers
from parity.diagnose.one_layer import of_gradients
from parity.report import Result


class TorchPart(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(4, 4)

    def forward(self, x, *, pair):
        y = self.fc(x)
        return (y, x) if pair else torch.tanh(y)


class TorchTwice(torch.nn.Module):
    """A part whose first call returns a tuple, which is not compared, and whose second returns a tensor."""

    def __init__(self):
        super().__init__()
        self.part, self.head = TorchPart(), torch.nn.Linear(4, 3)

    def forward(self, x):
        y, x = self.part(x, pair=True)
        return self.head(self.part(x + y, pair=False))


class FlaxPart(nn.Module):
    scale: float = 1.0

    @nn.compact
    def __call__(self, x, *, pair):
        y = nn.Dense(4, name="fc")(x)
        return (y, x) if pair else nn.tanh(y) * self.scale


class FlaxTwice(nn.Module):
    scale: float = 1.0

    @nn.compact
    def __call__(self, x):
        part = FlaxPart(self.scale, name="part")
        y, x = part(x, pair=True)
        return nn.Dense(3, name="head")(part(x + y, pair=False))


def test_a_call_that_returns_a_tensor_is_compared_where_an_earlier_one_returned_a_tuple():
    inputs = np.random.default_rng(0).normal(size=(3, 4))
    report = layers.check(TorchTwice(), FlaxTwice(scale=2.0), inputs, same_names=True, fail_fast=True)
    failure = report.failures[0]
    assert (failure.stage, failure.layer) == ("forward", "part")
    assert "given PyTorch's input" in failure.diagnosis


@pytest.mark.parametrize("count", [3, 6, 7, 8, 9, 60, 1000])
def test_a_sum_for_a_mean_is_named_at_every_batch_size(count):
    gradient = np.random.default_rng(0).normal(size=(5, 7))
    for found in (gradient * count, gradient / count):
        assert "the batch size, a sum for a mean, or the reverse (trap 18)" in of_gradients([gradient], [found], count)
    near = of_gradients([gradient], [gradient * (count + 1e-6)], count)
    assert near.startswith("it is PyTorch's times")
    assert "batch size" not in near


def test_fail_fast_at_inputs_that_were_moved_has_no_gradients_to_speak_of(monkeypatch):
    passes = [
        ([Result("gradients", 1.0, 0.1, "")], frozenset(), 0.5),
        ([Result("forward, eval", 1.0, 0.1, "")], frozenset(), 0.0),
    ]
    monkeypatch.setattr(layers, "_check_float64", lambda *_, **__: passes.pop(0))
    monkeypatch.setattr(layers, "settled", lambda pair, _seed: pair)
    _, results, _ = layers._check_settled(None, 0, fail_fast=True)  # type: ignore[arg-type]
    assert [result.check for result in results] == ["forward, eval"]
