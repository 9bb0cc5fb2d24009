"""Random numbers of a pass: of one law on both sides, as many, independent; where evaluation draws some, the same."""

import jax
import jax.numpy as jnp
import pytest
import torch
from flax import linen
from torch import nn as tn

import parity
from parity.report import verdict
from parity.report.table import as_text
from tests.quick import slow_unless
from tests.random_pairs import (
    POINTS,
    RIGHT,
    SAMPLING,
    WORDS,
    WRONG,
    Attention,
    Dropping,
    LinenAttention,
    Sampling,
    dropping,
    sampling,
    zeros,
)

QUICK = {
    *("what is dropped, a half", "NNX", "another order, and a draw for nothing", "Gumbel"),
    *("same key", "same seed in NNX", "one mask for all examples", "dropout in JAX alone", "a path for all examples"),
    *("a layer that is left out", "normal for Gumbel", "Linen, given a key"),
}


@pytest.mark.parametrize("case", slow_unless(QUICK.__contains__, RIGHT))
def test_one_law_may_be_drawn_in_different_ways(case):
    ours, theirs, *inputs = RIGHT[case]()
    report = parity.check(ours, theirs, *(inputs or [POINTS]))
    assert report.ok, report.failures
    notes = {result.check: result.note for result in report.results}
    assert "the same on both sides" in notes["dropout"] or "2 layers, 3 draws of masks" in notes["dropout"]


@pytest.mark.parametrize("case", slow_unless(QUICK.__contains__, WRONG))
def test_other_random_numbers_are_a_fault(case):
    make, words = WRONG[case]
    ours, theirs, *inputs = make()
    (failure,) = parity.check(ours, theirs, *(inputs or [POINTS])).failures
    assert failure.check == "dropout"
    assert words in failure.diagnosis
    assert "(trap 20)" in failure.diagnosis


def test_masks_for_all_examples_can_be_accepted():
    report = parity.check(Attention(), LinenAttention(shared=True), WORDS, accept=["trap-20"])
    assert report.ok, report.failures
    assert any(result.check == "gradients, train" for result in report.results)
    assert any("accepted by name: trap-20" in result.note for result in report.results)


def test_a_check_that_is_not_made_does_not_hold():
    apply, tree = dropping()
    report = parity.check(Dropping(), (lambda p, x: apply(p, x), tree), POINTS)
    assert report.ok
    assert verdict([report]) == "1 network: 5 checks hold, 0 fail, 1 not made"
    rows = [line.split() for line in as_text(report).splitlines() if "it has no" in line]
    assert [row[3:8] for row in rows] == [["│", "-", "│", "-", "│"]]


class Mode(tn.Module):
    """A module that draws nothing and still is another one in training mode."""

    def __init__(self, scale=1.0, *, stopped=False):
        super().__init__()
        self.a, self.b, self.scale, self.stopped = tn.Linear(6, 8), tn.Linear(8, 3), scale, stopped

    def forward(self, x):
        x = torch.tanh(self.a(x))
        if self.training:
            x = x.detach() if self.stopped else x * self.scale
        return self.b(x)


def mode(scale=1.0, *, stopped=False):
    def apply(p, x, train=False):
        x = jnp.tanh(x @ p["a"] + p["ab"])
        if train:
            x = jax.lax.stop_gradient(x) if stopped else x * scale
        return x @ p["b"] + p["bb"]

    return apply, zeros(a=(6, 8), ab=(8,), b=(8, 3), bb=(3,))


class LinenMode(linen.Module):
    scale: float

    @linen.compact
    def __call__(self, x, train=False):
        x = jnp.tanh(linen.Dense(8)(x))
        return linen.Dense(3)(x * self.scale if train else x)


@pytest.mark.parametrize(
    ("ours", "theirs", "check"),
    [
        (Mode(0.5), mode(0.5), None),
        (Mode(0.5), mode(0.25), "forward, train"),
        (Mode(), mode(0.25), "forward, train"),
        (Mode(0.5), LinenMode(0.25), "forward, train"),
        (Mode(stopped=True), mode(stopped=True), None),
        (Mode(), mode(stopped=True), "gradients, train"),
        (Mode(stopped=True), mode(), "gradients, train"),
    ],
)
def test_training_mode_is_compared_where_nothing_is_drawn(ours, theirs, check):
    report = parity.check(ours, theirs, POINTS)
    assert next((failure.check for failure in report.failures), None) == check
    assert any(result.check == "forward, train" for result in report.results)


def test_a_side_without_training_mode_is_not_compared_in_it():
    apply, tree = mode()
    for ours, made in ((Mode(0.5), False), (Mode(), True)):
        report = parity.check(ours, (lambda p, x: apply(p, x), tree), POINTS)
        assert report.ok
        assert all(result.made for result in report.results) == made


def test_alpha_dropout_is_no_dropout():
    class Alpha(tn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.drop, self.c = tn.Linear(6, 16), tn.AlphaDropout(0.3), tn.Linear(16, 3)

        def forward(self, x):
            return self.c(self.drop(torch.selu(self.a(x))))

    class Flax(linen.Module):
        @linen.compact
        def __call__(self, x, train=False):
            return linen.Dense(3)(linen.Dropout(0.3, deterministic=not train)(jax.nn.selu(linen.Dense(16)(x))))

    (failure,) = parity.check(Alpha(), Flax(), POINTS).failures
    assert failure.check == "forward, train"


@pytest.mark.parametrize("kind", slow_unless(QUICK.__contains__, SAMPLING))
def test_noise_in_evaluation_mode_is_given_to_both(kind):
    report = parity.check(Sampling(), SAMPLING[kind](), POINTS)
    assert report.ok, report.failures
    assert any("both sides draw random numbers in evaluation mode, too" in note for note in report.notes)


@pytest.mark.parametrize(
    ("noise", "half"),
    [
        (jax.random.normal, 1.0),
        (jax.random.uniform, 0.5),
        (lambda key, shape: jax.random.normal(key, shape[-1:]), 0.5),
        (lambda key, shape: 2 * jax.random.normal(key, shape), 0.5),
    ],
)
def test_other_noise_in_evaluation_mode_is_a_fault(noise, half):
    (failure, *_) = parity.check(Sampling(), sampling(noise, half), POINTS).failures
    assert failure.check == "forward, eval"
    assert failure.torch_line is not None
    assert "torch.randn_like(mean)" in failure.diagnosis
