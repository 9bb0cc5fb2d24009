"""Trainings that are compared as a whole: a thousand float32 steps, each from PyTorch's state, and many seeds."""

import json

import numpy as np
import optax
import pytest

from parity.checks.small import BATCH_SIZE, build_small, real_batches
from parity.copy import unflatten
from parity.sides.torch_side import TorchSide
from parity.training.accuracies import Trained, compare_runs
from parity.training.forced import Flips, forced
from parity.training.trajectory import Lesson, recipe
from tests.planted_training import decayed, rule


@pytest.mark.parametrize("steps", [5, pytest.param(20, marks=pytest.mark.slow)])
def test_float32_steps_from_pytorchs_state_agree_and_flips_are_counted(steps):
    found = forced("lenet5", "adam", steps=steps)
    assert found.ok
    assert 0 < found.parameters <= 1e-5
    assert 2 * found.steps_with_flips <= found.steps
    # What LeNet-5's four ReLUs are given for each image: 6 of 28x28, 16 of 10x10, 120, 84.
    assert found.activations == steps * BATCH_SIZE * (6 * 28 * 28 + 16 * 10 * 10 + 120 + 84)
    assert found.steps_with_flips <= found.flips <= 10


def test_another_update_rule_does_not_pass(monkeypatch):
    rule(lambda c, r: decayed(c, optax.rmsprop(r)))(monkeypatch.setattr)  # optax's own decay and epsilon
    assert not forced("ann", "rmsprop", steps=5).ok


def test_a_flip_is_a_relu_that_decides_otherwise():
    twins = build_small("mlp", 0)
    batch = real_batches(twins.input_shape, 1, 0)[0]
    inputs = batch.inputs.astype("f4")
    lesson = Lesson(twins.torch, twins.flax, [batch], [{}], recipe("sgd"), (), np.float32)
    side, flips = TorchSide(twins.torch, np.float32), Flips(lesson)
    flat = side.variables()
    with flips(unflatten(flat), inputs, {}):
        side.forward(inputs)
    assert (flips.last, flips.activations) == (0, BATCH_SIZE * (256 + 128 + 64 + 32))
    first = next(path for path in flat if path.endswith("bias"))
    with flips(unflatten(flat | {first: flat[first] - 100}), inputs, {}):
        side.forward(inputs)
    assert flips.last > 0
    assert flips.total == flips.last


def runs(accuracies, scale=1.0):
    """Runs of both frameworks with these accuracies; `scale` is of Flax's initial weights."""
    rng = np.random.default_rng(0)
    return [
        Trained(name, seed, value, {"params/w": rng.uniform(-1, 1, 2000) * (scale if name == "jaxnets" else 1)})
        for name, values in zip(("jaxnets", "torchnets"), accuracies, strict=True)
        for seed, value in enumerate(values)
    ]


def draw(mean, deviation, seeds=20, seed=0):
    values = np.random.default_rng(seed).normal(size=seeds)
    return mean + deviation * (values - values.mean()) / values.std(ddof=1)


def test_trainings_are_equal_only_if_that_is_shown():
    same = [draw(0.975, 0.001), draw(0.9751, 0.001, seed=1)]
    assert compare_runs(runs(same)).ok
    found = compare_runs(runs([draw(0.97, 0.001), draw(0.98, 0.001, seed=1)]))
    assert found.p_difference < 1e-6
    assert not found.ok
    few = compare_runs(runs([draw(0.975, 0.02, 3), draw(0.975, 0.02, 3, seed=1)]))
    assert few.p_difference > 0.9  # nothing is significant, but nothing is shown either
    assert not few.ok
    other = compare_runs(runs(same, scale=0.8))
    assert other.p_initial < 1e-6
    assert not other.ok


def test_the_commands_print_and_write_their_figures(run_parity, tmp_path):
    options = ("--dataset", "digits", "--seeds", 2, "--epochs", 1)
    code, out, err = run_parity("training", "mlp", *options, "--json", "found.json")
    assert err == ""
    assert code == 1  # two runs of one epoch show nothing
    assert "NOT shown to be equal" in out
    found = json.loads((tmp_path / "found.json").read_text())
    assert len(found["jaxnets"]) == len(found["torchnets"]) == 2
    assert found["p_initial"] > 0.01
    code, out, err = run_parity("forced", "custom_mlp", "--steps", 3, "--json", "steps.json")
    assert (code, err) == (0, "")
    assert "1 of 1 networks hold at every step" in out
    assert json.loads((tmp_path / "steps.json").read_text())[0]["steps"] == 3


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("forced", "lenet"), "Did you mean 'lenet5'"),
        (("forced", "ann", "--optimizer", "adan"), "unknown optimizer 'adan'. Did you mean 'adam'"),
        (("training", "ann", "--seeds", "1"), "one run has no spread"),
        (("training", "ann", "--dataset", "mnits"), "Did you mean 'mnist'"),
    ],
)
def test_a_wrong_argument_is_one_line(run_parity, argv, words):
    code, _, err = run_parity(*argv)
    assert code == 1
    assert len(err.strip().splitlines()) == 1
    assert words in err
