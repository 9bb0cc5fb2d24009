"""All examples on the device: the same training, several steps in one call."""

import io
import math
import signal

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from rich.console import Console

from data import Loader
from data.base import Split
from experiment.config import Config
from experiment.loop.input_pipeline import AT_ONCE, ROOM, keeps_examples, steps_at_once
from experiment.loop.monitor import Monitor
from experiment.runs import checkpoint
from tests.test_commands import FRAMEWORKS
from tests.test_resume import forget_after, interrupt, result

# 1,293 examples in batches of 16: two calls of 32 steps, and 17 of one step.
OPTIONS = ("--model", "mlp", "--batch-size", 16, "--optimizer", "momentum", "--lr", 0.01, "--data-on", "device")


def loader(examples: int, batch_size: int) -> Loader:
    inputs = np.zeros((examples, 1, 1, 1), np.uint8)
    return Loader(Split(inputs, np.zeros(examples, np.int32)), np.zeros(1), np.ones(1), batch_size, seed=0)


@pytest.mark.parametrize(
    ("config", "accelerator", "replicas", "kept"),
    [
        (Config(), True, 1, True),
        (Config(), False, 1, False),
        (Config(), True, 2, False),
        (Config(workers=1), True, 1, False),
        (Config(data_on="host"), True, 1, False),
        (Config(data_on="device"), False, 1, True),
    ],
)
def test_examples_go_to_a_single_accelerator(config, accelerator, replicas, kept):
    assert keeps_examples(config, loader(3, 2), accelerator=accelerator, replicas=replicas) == kept


def test_examples_that_a_device_has_no_room_for_stay_where_they_are():
    large = np.broadcast_to(np.zeros((1, 1, 1, 1), np.uint8), (ROOM + 1, 1, 1, 1))
    many = Loader(Split(large, np.zeros(1, np.int32)), np.zeros(1), np.ones(1), 2)
    assert not keeps_examples(Config(), many, accelerator=True, replicas=1)


@given(st.integers(1, 400), st.integers(1, 4), st.integers(0, 3), st.sampled_from([1, 2, 31, 33, 50, 1000]))
def test_several_steps_are_of_one_size_and_nothing_is_due_between(examples, batch_size, epoch, every):
    one = loader(examples, batch_size)
    done = 0
    while done < len(one):
        steps = steps_at_once(Config(batch_size=batch_size, checkpoint_every=f"{every}steps"), one, epoch, done)
        numbers = np.arange(done, done + steps) + epoch * len(one)  # steps of the training before each
        assert not (numbers[1:] % every == 0).any()
        if steps > 1:
            assert {one.size(number) for number in range(done, done + steps)} == {batch_size}
        done += steps
    assert done == len(one)
    whole = sum(one.size(number) == batch_size for number in range(len(one)))  # a last one of 1 joins the one before
    assert steps_at_once(Config(batch_size=batch_size), one, 0, 0) == (AT_ONCE if whole >= AT_ONCE else 1)


@given(st.lists(st.floats(), min_size=1, max_size=9), st.integers(0, 8), st.booleans())
def test_the_monitor_reads_several_steps_as_it_does_one_after_the_other(losses, first, skip):
    metrics = {"loss": np.array(losses), "grad_norm": np.ones(len(losses)), "correct": np.arange(len(losses))}
    found = []
    for pieces in ([[at] for at in range(len(losses))], [[*range(first)], [*range(first, len(losses))]]):
        monitor = Monitor(len(losses), 1, Console(file=io.StringIO()), skip=skip)
        monitor.begin(0)
        for piece in filter(
            None, (np.array([at for at in piece if at < len(losses)], int).tolist() for piece in pieces)
        ):
            some = {name: values[piece] if len(piece) > 1 else values[piece[0]] for name, values in metrics.items()}
            monitor.step(7, some, len(piece))
        found.append((monitor.read()._replace(seconds=0), monitor.bad))
    assert str(found[0]) == str(found[1])  # as text, since nan is not nan
    assert (found[0][1] is None) == (skip or all(map(math.isfinite, losses)))


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize("augment", [pytest.param("none", marks=pytest.mark.slow), "crop,flip"])
def test_the_training_is_that_of_batches_finished_on_the_device(framework, augment, run_main, tmp_path):
    options = ("--epochs", 1, "--precision", "float64", "--augment", augment, "--mixup", 0.2)
    weights = []
    for name, place in {"all": (), "some": ("--data-on", "host", "--augment-on", "device")}.items():
        code, _, err = run_main(f"{framework}.train", *OPTIONS, *options, *place, "--out", name)
        assert (code, err) == (0, "")
        found, _ = checkpoint.newest(tmp_path / name)
        assert found
        weights.append(found.weights())
    for path, ours in weights[0].items():
        np.testing.assert_allclose(ours, weights[1][path], rtol=0, atol=1e-10, err_msg=path)


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_it_goes_on_bit_by_bit_in_the_middle_of_an_epoch(framework, run_main, tmp_path):
    options = ("--epochs", 2, "--augment", "affine", "--checkpoint-every", "50steps", "--keep", 100, "--out", "run")
    code, _, err = run_main(f"{framework}.train", *OPTIONS, *options)
    assert (code, err) == (0, "")
    whole = result(tmp_path / "run")
    for step in (100, 50):
        forget_after(tmp_path / "run", step)
        code, _, err = run_main(f"{framework}.train", "--resume", "run")
        assert (code, err) == (0, "")
        assert result(tmp_path / "run") == whole


@pytest.mark.parametrize(("framework", "last"), [("jaxnets", 64), ("torchnets", 40)])  # 33 to 64 are one call
def test_a_signal_finishes_the_steps_under_way_and_saves(framework, last, run_main, tmp_path):
    options = (*OPTIONS, "--epochs", 2, "--checkpoint-every", "1000epochs", "--out")
    with pytest.MonkeyPatch.context() as patch:
        interrupt(patch, signal.SIGINT, 40)
        code, _, err = run_main(f"{framework}.train", *options, "run")
    assert code == 128 + signal.SIGINT
    assert err.startswith("interrupted after ")
    assert [folder.name for folder in checkpoint.folders(tmp_path / "run")] == [f"step-{last:09}"]
    assert run_main(f"{framework}.train", "--resume", "run")[0] == 0
    assert run_main(f"{framework}.train", *options, "whole")[0] == 0
    assert result(tmp_path / "run") == result(tmp_path / "whole")


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_it_leaves_nothing_for_workers(framework, run_main):
    code, _, err = run_main(f"{framework}.train", *OPTIONS, "--workers", 1)
    expected = "--data-on device has nothing left for --workers, and no shares for --processes; leave them out"
    assert (code, err) == (1, f"error: {expected}\n")
