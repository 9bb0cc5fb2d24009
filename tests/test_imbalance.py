"""Classes of different sizes: --class-weights and --sampler."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

import jaxnets.losses
import torchnets.losses
from data import Batch, Loader, Split
from experiment.config import Config
from experiment.loop.class_weights import balanced
from parity.copy import flatten, to_flax
from parity.suite import real_batches
from tests.test_parallel import assert_close as assert_same_numbers
from tests.test_parallel import finish
from tests.test_parallel import start as start_process
from tests.test_regularisation import FRAMEWORKS, assert_close, start
from torchnets.compose import training as torch_training
from torchnets.tensors import as_tensors

WEIGHTS = np.array([0.2, 0.5, 1.0, 3.0, 1.5, 0.1, 7.0])


@given(st.lists(st.integers(0, 6), min_size=1, max_size=50))
def test_balanced_weights_are_scikit_learns(labels):
    found = balanced(np.array(labels), 7)
    present = np.unique(labels)
    np.testing.assert_allclose(found[present], compute_class_weight("balanced", classes=present, y=labels), rtol=1e-15)
    assert not np.delete(found, present).any()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("soft", [False, True])
def test_the_weighted_loss_and_its_gradient_are_pytorchs(smoothing, soft):
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=5, size=(20, 7))
    labels = rng.dirichlet(np.ones(7), 20) if soft else rng.integers(0, 7, 20).astype(np.int32)
    targets = torch.from_numpy(labels) if soft else torch.from_numpy(labels).long()
    x, y = (torch.tensor(logits, requires_grad=True) for _ in range(2))
    expected = torch.nn.CrossEntropyLoss(weight=torch.from_numpy(WEIGHTS), label_smoothing=smoothing)(x, targets)
    expected.backward()
    ours = torchnets.losses.cross_entropy(y, targets, smoothing, WEIGHTS)
    ours.backward()
    assert ours.item() == expected.item()
    with jax.enable_x64(True):
        loss = jax.value_and_grad(jaxnets.losses.cross_entropy)
        value, gradient = loss(jnp.asarray(logits), jnp.asarray(labels), smoothing, WEIGHTS)
    assert float(value) == pytest.approx(expected.item(), rel=1e-13)
    assert x.grad is not None
    np.testing.assert_allclose(gradient, x.grad, rtol=1e-11, atol=1e-15)


def test_a_weighted_step_is_equal_in_both_frameworks_also_in_pieces():
    weights = np.resize(WEIGHTS, 10)
    with jax.enable_x64(True):
        batch = real_batches((28, 28, 1), 1, 0)[0]
        found = []
        for pieces in (1, 3):
            config = Config(optimizer="sgd", lr=0.1, label_smoothing=0.1, accumulate=pieces)
            net, step, state = start("mlp", config, weights)
            state, metrics = jax.jit(step)(state, batch)
            theirs = torch_training(net, config, 10, weights=weights).step(as_tensors(batch))
            assert float(metrics["loss"]) == pytest.approx(float(theirs["loss"]), rel=1e-12)
            found.append(flatten(state.variables))
            assert_close(found[-1], flatten(to_flax(net.state_dict())))
        assert_close(*found)


def examples(counts: tuple[int, ...]) -> Split:
    labels = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    return Split(np.random.default_rng(0).integers(0, 256, (len(labels), 4, 4, 1), np.uint8), labels)


def test_the_balanced_sampler_draws_each_class_as_often_and_depends_on_seed_and_epoch_alone():
    split, ones = examples((900, 90, 10)), np.ones(1)
    loader = Loader(split, ones, ones, 100, seed=3, balanced=True)
    labels = np.concatenate([batch.labels for epoch in range(10) for batch in loader.epoch(epoch)])
    assert len(labels) == 10 * 1000
    shares = np.bincount(labels) / len(labels)
    np.testing.assert_allclose(shares, 1 / 3, atol=0.02)  # four standard deviations
    other = Loader(split, ones, ones, 7, seed=3, balanced=True)
    np.testing.assert_array_equal(loader.order(2), other.order(2))
    assert not np.array_equal(loader.order(2), loader.order(3))
    assert not np.array_equal(loader.order(2), Loader(split, ones, ones, 7, seed=4, balanced=True).order(2))
    second = [batch.labels for batch in loader.epoch(1)][3:]  # a resumed epoch
    for ours, theirs in zip(loader.epoch(1, 3), second, strict=True):
        np.testing.assert_array_equal(ours.labels, theirs)


def test_an_example_that_is_drawn_twice_is_augmented_in_two_ways_and_shards_are_parts():
    split, ones = examples((60, 4)), np.ones(1)
    loader = Loader(split, ones, ones, 64, seed=0, balanced=True, augment=("affine",))
    (batch,) = loader.epoch(0)
    order = loader.order(0)
    repeated = np.flatnonzero(order == np.bincount(order).argmax())
    assert len(repeated) > 2
    assert len(np.unique(batch.inputs[repeated].reshape(len(repeated), -1), axis=0)) == len(repeated)
    parts = [
        Loader(split, ones, ones, 64, 0, balanced=True, augment=("affine",), shard=at, shards=2) for at in range(2)
    ]
    halves: list[Batch] = [next(part.epoch(0)) for part in parts]
    np.testing.assert_array_equal(np.concatenate([half.inputs for half in halves]), batch.inputs)


def test_each_time_that_a_long_clip_is_drawn_it_gives_one_of_its_windows_at_random():
    labels = np.repeat(np.arange(2, dtype=np.int32), [60, 4])
    owners = np.repeat(np.arange(60, 64), 3)  # the rare class has long clips: three windows more each
    inputs = np.arange(64 + 12, dtype=np.int16)[:, None, None]
    split = Split(np.repeat(inputs, 5, axis=1), np.concatenate([labels, labels[owners]]))
    loader = Loader(split, np.zeros(1), np.ones(1), 64, seed=0, owners=owners, balanced=True)
    (batch,) = loader.epoch(0)
    rows = np.rint(batch.inputs[:, 0, 0] * 32768).astype(int)
    assert loader.examples == 64
    clips = np.where(rows < 64, rows, owners[np.maximum(rows - 64, 0)])
    np.testing.assert_array_equal(clips, loader.order(0))
    np.testing.assert_array_equal(batch.labels, labels[clips])
    assert 16 < (batch.labels == 1).sum() < 48
    assert len(set(rows[clips == 60])) > 1


@pytest.mark.parametrize(
    ("framework", "options"),
    [
        ("torchnets", ("--sampler", "balanced", "--augment", "crop", "--data-on", "device")),
        pytest.param("jaxnets", ("--class-weights", "balanced", "--mixup", 0.2, "--ema", 0.5), marks=pytest.mark.slow),
    ],
)
def test_a_resumed_run_is_the_same(framework, options, run_main, tmp_path):
    argv = ("--model", "mlp", "--epochs", 2, "--batch-size", 300, *options, "--checkpoint-every", "3steps")
    code, out, err = run_main(f"{framework}.train", *argv, "--out", "run")
    assert (code, err) == (0, "")
    said = (
        "each class is drawn equally often; " if "--sampler" in options else "classes are weighted in the loss, from "
    )
    assert said in out
    run = tmp_path / "run"
    assert {"--sampler": "sampler", "--class-weights": "class_weights"}[options[0]] in json.loads(
        (run / "config.json").read_text()
    )
    whole = {name: (run / name).read_bytes() for name in ("metrics.jsonl", "weights.safetensors")}
    (run / "summary.json").unlink()
    last = sorted((run / "checkpoints").glob("step-*"))[-1]
    shutil.rmtree(last)
    assert run_main(f"{framework}.train", "--resume", "run")[0] == 0
    assert whole == {name: (run / name).read_bytes() for name in whole}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_what_cannot_be_weighted_is_one_line(framework, run_main):
    for argv, said in (
        (("--loss", "bce"), "--class-weights balanced is for --loss cross-entropy, not bce"),
        (("--sampler", "balanced"), "--class-weights and --sampler both make up for the sizes of the classes"),
    ):
        code, _, err = run_main(f"{framework}.train", "--class-weights", "balanced", *argv)
        assert code == 1
        assert err.startswith(f"error: {said}")
        assert err.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("options", [("--class-weights", "balanced"), ("--sampler", "balanced")])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_two_processes_weigh_and_draw_as_one_does(framework, options, tmp_path):
    argv = ("--model", "mlp", "--epochs", 1, "--batch-size", 256, "--precision", "float64", "--label-smoothing", 0.1)
    for name, count in (("one", 1), ("two", 2)):
        more = ("--optimizer", "sgd", *options, "--processes", count, "--out", tmp_path / name)
        finish(start_process("-m", f"{framework}.train", *argv, *more))
    assert_same_numbers(tmp_path / "two", tmp_path / "one")
