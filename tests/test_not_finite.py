"""Losses and gradients that are no finite numbers: the training stops before anything is lost, or skips the step."""

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from PIL import Image

import jaxnets
import jaxnets.compose
import jaxnets.snapshot
import torchnets
import torchnets.compose
import torchnets.snapshot
from data import Batch, Loader
from experiment.config import Config
from experiment.runs import checkpoint, plots
from experiment.weights.safetensors_file import read_weights
from jaxnets.averaging import AveragedState
from jaxnets.skipping import is_finite
from parity.copy import flatten, to_flax
from parity.suite import real_batches
from tests.test_commands import FRAMEWORKS
from tests.test_regularisation import assert_close
from tests.test_watching import read_events
from torchnets.tensors import as_tensors


def change_batch(monkeypatch, change: Callable[[np.ndarray], Any], *, seed: int | None = None) -> int:
    """Change the inputs of one batch of the second epoch, of one seed's training or of all; return its number."""
    plain = Loader.epoch

    def epoch(self, epoch=0, start=0):
        for number, batch in enumerate(plain(self, epoch, start), start):
            if self.seed is not None and seed in (None, self.seed) and (epoch, number) == (1, 4):
                change(batch.inputs)
            yield batch

    monkeypatch.setattr(Loader, "epoch", epoch)
    return 4


@pytest.fixture
def poisoned(monkeypatch) -> int:
    """One batch of the second epoch is not finite; returns its number."""
    return change_batch(monkeypatch, lambda inputs: inputs[0, 0, 0].fill(np.nan))


def make_large(inputs: np.ndarray) -> None:
    """Make inputs so large that BatchNorm's variance overflows; the loss and all gradients stay finite."""
    inputs *= np.float32(1e25)


def all_saved_is_finite(run: Path) -> bool:
    """Return whether all that a run has saved is finite, in the same and in the narrower places."""
    files = list(run.rglob("*.safetensors"))
    assert files
    arrays = [
        array for file in files for array in read_weights(file).values() if file.name != "not-finite.safetensors"
    ]
    return all(np.isfinite(array).all() for array in arrays if array.dtype.kind == "f")


@pytest.mark.parametrize("framework", ["torchnets", pytest.param("jaxnets", marks=pytest.mark.slow)])
def test_a_number_that_is_none_stops_the_training_and_names_the_examples(framework, poisoned, run_main, tmp_path):
    options = ("--model", "ann", "--epochs", 3, "--checkpoint-every", "3steps", "--out", "run")
    code, _, err = run_main(f"{framework}.train", *options)
    assert code == 1
    assert err.count("\n") == 1
    found = json.loads((tmp_path / "run/not-finite.json").read_text())
    assert (found["step"], found["epoch"], found["batch"], len(found["examples"])) == (
        21 + poisoned + 1,
        1,
        poisoned,
        64,
    )
    assert err.startswith(f"error: step 26 (epoch 2, batch 5, training examples {found['examples'][0]}, ")
    assert "the last good checkpoint is run/checkpoints/step-000000024" in err
    batch = read_weights(tmp_path / "run/not-finite.safetensors")
    assert np.argwhere(np.isnan(batch["inputs"])).tolist() == [[0, 0, 0, 0]]
    good, skipped = checkpoint.newest(tmp_path / "run")
    assert good
    assert not skipped
    assert all(np.isfinite(array).all() for array in good.state.values() if array.dtype.kind == "f")
    # Going on comes to the same step again: the batch is replayed, and so is the fault.
    code, _, again = run_main(f"{framework}.train", "--resume", "run")
    assert (code, again) == (1, err)
    code, out, err = run_main(f"{framework}.train", "--resume", "run", "--on-nan", "skip")
    assert (code, err) == (0, "")
    assert "1 step was not finite, and changed nothing" in out


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_diverged_training_stops_and_leaves_valid_json(framework, run_main, tmp_path):
    options = ("--optimizer", "sgd", "--lr", 1e30, "--epochs", 1, "--model", "mlp", "--out", "run")
    code, _, err = run_main(f"{framework}.train", *options)
    assert code == 1
    assert " is not finite: loss " in err
    assert err.endswith("no checkpoint was due before it. Try a smaller --lr, --clip-norm or --on-nan skip\n")
    json.loads((tmp_path / "run/not-finite.json").read_text(), parse_constant=pytest.fail)


# The weights overflow, of which a loss would show it in the next step, and Adam's squares, of which it never would.
TOO_LARGE = {
    "weights": ("--optimizer", "sgd", "--lr", 1e38, "--weight-decay", 1e3),
    "optimizer": ("--optimizer", "adam", "--lr", 1e-3, "--weight-decay", 1e22),
}


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize(
    ("what", "options"),
    [("weights", ("--on-nan", "stop", "--ema", 0.5)), ("optimizer", ("--on-nan", "stop", "--precision", "bfloat16"))],
)
def test_a_state_that_is_not_finite_is_not_saved_in_the_very_last_step(framework, what, options, run_main, tmp_path):
    """The only step of the training has a finite loss and finite gradients."""
    length = ("--model", "mlp", "--schedule", "constant", "--epochs", 1, "--batch-size", 1293)
    code, out, err = run_main(f"{framework}.train", *length, *TOO_LARGE[what], *options, "--out", "run")
    assert code == 1
    assert err.startswith("error: step 1 (epoch 1, batch 1, training examples ")
    assert " leaves a state that is not finite: " in err
    assert "no checkpoint was due before it. Try a smaller --lr" in err
    assert err.count("\n") == 1
    assert "epoch  1/1" not in out
    found = json.loads((tmp_path / "run/not-finite.json").read_text())
    assert np.isfinite([found["loss"], found["grad_norm"]]).all()
    assert found["tensors"]
    assert all(what != "optimizer" or name.startswith("opt") for name in found["tensors"])
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "config.json",
        "not-finite.json",
        "not-finite.safetensors",
    ]


@pytest.mark.parametrize("framework", ["torchnets", pytest.param("jaxnets", marks=pytest.mark.slow)])
def test_an_update_that_overflows_leaves_the_last_good_checkpoint(framework, monkeypatch, run_main, tmp_path):
    number = change_batch(monkeypatch, make_large)
    options = ("--model", "ann", "--epochs", 2, "--batch-size", 256, "--checkpoint-every", "1step", "--keep", 1)
    code, _, err = run_main(f"{framework}.train", *options, "--out", "run")
    assert code == 1
    step = 6 + number + 1
    assert err.startswith(f"error: step {step} (epoch 2, batch {number + 1}, training examples ")
    assert " leaves a state that is not finite: " in err
    assert f"; the last good checkpoint is run/checkpoints/step-{step - 1:09}. " in err
    assert all_saved_is_finite(tmp_path / "run")
    assert (tmp_path / "run/checkpoints/last").readlink().name == f"step-{step - 1:09}"
    code, out, err = run_main(f"{framework}.train", "--resume", "run", "--on-nan", "skip")
    assert (code, err) == (0, "")
    assert "1 step was not finite, and changed nothing" in out
    assert all_saved_is_finite(tmp_path / "run")


def test_nor_is_one_of_several_trainings_in_one_program(monkeypatch, run_main, tmp_path):
    """What is skipped of one training leaves the others alone, and is what it would have been alone."""
    change_batch(monkeypatch, make_large, seed=1)
    options = ("--model", "ann", "--epochs", 2, "--batch-size", 256, "--on-nan", "skip", "--precision", "bfloat16")
    code, _, err = run_main("jaxnets.train", *options, "--seeds", 2, "--together", "yes", "--out", "runs")
    assert (code, err) == (0, "")
    assert all_saved_is_finite(tmp_path / "runs")
    counts = [json.loads((tmp_path / f"runs/seed-{seed}/summary.json").read_text())["epochs"] for seed in (0, 1)]
    assert counts == [2, 2]


draw_curves = plots.curves  # `run_main` replaces it


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_an_epoch_in_which_no_step_is_taken_has_no_loss_and_ends_the_training(framework, run_main, tmp_path):
    options = ("--optimizer", "sgd", "--lr", 1e25, "--schedule", "constant", "--batch-size", 500, "--model", "mlp")
    options = (*options, "--epochs", 5, "--on-nan", "skip", "--tensorboard", "--checkpoint-every", "1step")
    code, out, err = run_main(f"{framework}.train", *options, "--out", "run")
    assert code == 1
    assert err.startswith("error: epoch 2 trained nothing: its 3 steps were all skipped, because ")
    assert "; the last good checkpoint is run/checkpoints/step-000000005. Try a smaller --lr" in err
    assert err.count("\n") == 1
    assert re.search(r"^epoch  2/5  train      -       -  validation nan .*        - examples/s$", out, re.MULTILINE)
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    train = [row for row in rows if row["split"] == "train"]
    assert len(train) == 2
    assert train[0]["loss"] > 0
    assert (train[1]["loss"], train[1]["accuracy"]) == (None, None)
    (events,) = (tmp_path / "run").glob("events.out.tfevents.*")
    tags = [(tag, step) for tag, step, _ in read_events(events.read_bytes())]
    assert ("loss/train", 3) in tags
    assert ("accuracy/validation", 6) in tags
    assert ("loss/train", 6) not in tags
    assert all_saved_is_finite(tmp_path / "run")
    assert min(Image.open(io.BytesIO(draw_curves(rows, "run"))).size) >= 400
    code, _, again = run_main(f"{framework}.train", "--resume", "run")
    assert (code, again) == (1, err)


@pytest.mark.parametrize(
    "order", [pytest.param(lambda a, bad, b: (a, bad, b), marks=pytest.mark.slow), lambda a, bad, b: (bad, a, b)]
)
def test_a_skipped_step_changes_nothing_in_either_framework(order):
    """A bad batch between or before two good ones leaves no trace; in float64, in both frameworks.

    Where the first step is skipped, the moving average starts from the second, not from the initial weights.
    """
    config = Config(model="lenet5_bn", optimizer="momentum", weight_decay=0.01, ema=0.9, on_nan="skip", lr=0.1)
    first, second = real_batches((32, 32, 1), 2, 0)
    bad = first._replace(inputs=np.where(first.inputs > first.inputs.mean(), np.inf, first.inputs))
    ends = {}
    with jax.enable_x64(True):
        for name, batches in {"with": order(first, bad, second), "without": (first, second)}.items():
            torch.manual_seed(0)
            net = torchnets.MODELS["lenet5_bn"].build().double()
            init, take_step = jaxnets.compose.training(jaxnets.MODELS["lenet5_bn"].build(), config, 10)
            variables = jax.tree.map(jnp.asarray, to_flax(net.state_dict()))
            state, step = init(variables, 0), jax.jit(take_step)
            both, torch_step = torchnets.compose.training(net, config, 10)
            for batch in batches:
                batch = Batch(batch.inputs.astype(np.float64), batch.labels)
                state, metrics = step(state, batch)
                found = torch_step(as_tensors(batch))
                assert bool(found.get("skipped")) == (not is_finite(metrics))
                if not found.get("skipped"):
                    both.schedule.step()
            assert int(state.step) == len(batches)
            assert both.average
            assert isinstance(state, AveragedState)
            assert int(state.averaged) == int(both.average.n_averaged) == 2
            arrays = jaxnets.snapshot.to_arrays(state), torchnets.snapshot.to_arrays(both)
            ends[name] = [{at: np.array(array) for at, array in side.items() if at != "step"} for side in arrays]
            for mine, theirs in ((state.variables, net), (state.average, both.average.module)):
                assert_close(flatten(mine), flatten(to_flax(theirs.state_dict())))
    for some, others in zip(*ends.values(), strict=True):
        assert some.keys() == others.keys()
        for path in some:
            np.testing.assert_array_equal(some[path], others[path], err_msg=path)
