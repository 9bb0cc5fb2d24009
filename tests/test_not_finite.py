"""Losses and gradients that are no finite numbers: the training stops before anything is lost, or skips the step."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import jaxnets
import jaxnets.compose
import jaxnets.snapshot
import torchnets
import torchnets.compose
import torchnets.snapshot
from data import Batch, Loader
from experiment.config import Config
from experiment.runs import checkpoint
from experiment.weights.safetensors_file import read_weights
from jaxnets.averaging import AveragedState
from jaxnets.skipping import is_finite
from parity.copy import flatten, to_flax
from parity.suite import real_batches
from tests.test_commands import FRAMEWORKS
from tests.test_regularisation import assert_close
from torchnets.tensors import as_tensors


@pytest.fixture
def poisoned(monkeypatch) -> int:
    """One batch of the second epoch is not finite; returns its number."""
    plain = Loader.epoch

    def epoch(self, epoch=0, start=0):
        for number, batch in enumerate(plain(self, epoch, start), start):
            if self.seed is not None and (epoch, number) == (1, 4):
                batch.inputs[0, 0, 0] = np.nan
            yield batch

    monkeypatch.setattr(Loader, "epoch", epoch)
    return 4


@pytest.mark.parametrize("framework", FRAMEWORKS)
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


@pytest.mark.parametrize("order", [lambda a, bad, b: (a, bad, b), lambda a, bad, b: (bad, a, b)])
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
