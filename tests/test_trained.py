"""A port has the same gradients and still trains other numbers: tied, padded, kept in a buffer or in a constant."""

import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import linen, nnx
from torch import nn as tn

import parity

RNG = np.random.default_rng(0)
IDS, POINTS, IMAGES = RNG.integers(0, 11, (3, 5)), RNG.normal(size=(3, 5, 6)), RNG.normal(size=(3, 6, 6, 3))


def zeros(**shapes):
    return {name: np.zeros(shape) for name, shape in shapes.items()}


class Tied(tn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.fc, self.head = tn.Embedding(11, 6), tn.Linear(6, 6), tn.Linear(6, 11, bias=False)
        self.head.weight = self.words.weight

    def forward(self, ids):
        return self.head(torch.tanh(self.fc(self.words(ids))))


def tied(p, ids):
    return jnp.tanh(p["words"][ids] @ p["w"] + p["b"]) @ p["words"].T


def apart(p, ids):
    return jnp.tanh(p["words"][ids] @ p["w"] + p["b"]) @ p["head"]


def padded(p, ids):
    return (jnp.tanh(p["words"][ids] @ p["w"] + p["b"]) @ p["words"].T)[..., :11]


def padded_sum(p, ids):
    logits = jnp.tanh(p["words"][ids] @ p["w"] + p["b"]) @ p["words"].T
    return logits[..., :11] + logits[..., 11:].sum(-1, keepdims=True)


class Positions(tn.Module):
    def __init__(self, kind):
        super().__init__()
        table = torch.randn(5, 6)
        if kind == "buffer":
            self.register_buffer("table", table)
        else:
            self.table = tn.Parameter(table, requires_grad=kind == "trained")
        self.fc = tn.Linear(6, 4)

    def forward(self, x):
        return self.fc(x + self.table)


def positions(p, x):
    return (x + p["table"]) @ p["w"] + p["b"]


class Linen(linen.Module):
    collection: str

    @linen.compact
    def __call__(self, x):
        if self.collection == "params":
            table = self.param("table", linen.initializers.normal(), (5, 6))
        else:
            table = self.variable(self.collection, "table", lambda: jnp.ones((5, 6))).value
        return linen.Dense(4)(x + table)


class Nnx(nnx.Module):
    def __init__(self, kind):
        self.table, self.fc = kind(jnp.ones((5, 6))), nnx.Linear(6, 4, rngs=nnx.Rngs(0))

    def __call__(self, x):
        return self.fc(x + self.table[...])


class Images(tn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = tn.Conv2d(3, 4, 3, padding=1), tn.Linear(4, 2)

    def forward(self, x):
        return self.head(torch.relu(self.conv(x)).mean((2, 3)))


class Taller(linen.Module):
    """The kernel has a row more, which may be zero: the output is the same."""

    @linen.compact
    def __call__(self, x):
        return linen.Dense(2)(linen.relu(linen.Conv(4, (4, 3))(x)).mean((1, 2)))


class Gate(tn.Module):
    def __init__(self):
        super().__init__()
        self.down, self.up = tn.Linear(6, 2), tn.Linear(2, 6)

    def forward(self, x):
        return x * torch.sigmoid(self.up(torch.nn.functional.silu(self.down(x))))


class Wider(linen.Module):
    """One unit more: with zeros at both of its ends it has no gradient, but drawn at random it has."""

    @linen.compact
    def __call__(self, x):
        return x * linen.sigmoid(linen.Dense(6)(linen.silu(linen.Dense(3)(x))))


WORDS = {"words": (11, 6), "w": (6, 6), "b": (6,)}
TABLE = {"table": (5, 6), "w": (6, 4), "b": (4,)}
FAULTS = [
    (Tied(), (apart, zeros(**WORDS, head=(6, 11))), IDS, "one tensor in PyTorch", "params/head"),
    (Positions("trained"), Linen("constants"), POINTS, "is not trained", "constants/table is no parameter"),
    (Positions("trained"), Nnx(nnx.BatchStat), POINTS, "is not trained", "is no parameter"),
    (Positions("buffer"), Linen("params"), POINTS, "a buffer of PyTorch's is trained", "params/table"),
    (Positions("buffer"), Nnx(nnx.Param), POINTS, "a buffer of PyTorch's is trained", "which no optimizer moves"),
    (Images(), Taller(), IMAGES, "more numbers than PyTorch's", "has 36 numbers"),
]
IDENTIFIED = ["untied", "constant", "nnx constant", "buffer", "nnx buffer", "larger kernel"]


@pytest.mark.parametrize(("module", "model", "inputs", "cause", "words"), FAULTS, ids=IDENTIFIED)
def test_numbers_that_one_side_trains_alone_are_a_fault_of_training(module, model, inputs, cause, words):
    report = parity.check(module, model, inputs)
    (failure,) = report.failures
    assert (failure.check, failure.stage) == ("gradients", "backward")
    assert cause in failure.cause
    assert words in failure.diagnosis
    assert "purpose='inference'" in failure.advice
    assert failure.torch_line is not None
    assert failure.jax_line is not None
    assert parity.check(module, model, inputs, purpose="inference").ok


@pytest.mark.parametrize(
    ("module", "model", "inputs", "note"),
    [
        (Tied(), (tied, zeros(**WORDS)), IDS, ""),
        (Tied(), (padded, zeros(**WORDS | {"words": (16, 6)})), IDS, ""),
        (Positions("trained"), Linen("params"), POINTS, ""),
        (Positions("trained"), Nnx(nnx.Param), POINTS, ""),
        (Positions("buffer"), Linen("constants"), POINTS, ""),
        (Positions("buffer"), Nnx(nnx.BatchStat), POINTS, ""),
        (Positions("buffer"), (positions, zeros(**TABLE)), POINTS, "does not train what params/table is made of"),
        (Positions("frozen"), Linen("params"), POINTS, "does not train what params/table is made of"),
    ],
)
def test_what_is_trained_alike_or_left_to_the_optimizer_holds(module, model, inputs, note):
    report = parity.check(module, model, inputs)
    assert report.ok, report.failures
    (result,) = [result for result in report.results if result.check == "gradients"]
    assert note in result.note


def test_a_unit_more_is_a_fault_though_it_has_no_gradient():
    failures = parity.check(Gate(), Wider(), POINTS).failures
    assert {(f.layer, f.cause) for f in failures} == {
        ("down.weight", "a layer has more numbers than PyTorch's"),
        ("down.bias", "a layer has more numbers than PyTorch's"),
        ("up.weight", "a layer has more numbers than PyTorch's"),
    }
    assert parity.check(Gate(), Wider(), POINTS, purpose="inference").ok


def test_rows_of_padding_that_an_output_depends_on_are_a_fault():
    (failure,) = parity.check(Tied(), (padded_sum, zeros(**WORDS | {"words": (16, 6)})), IDS).failures
    assert "has 30 numbers" in failure.diagnosis
