"""Training the head of a frozen network: what the frozen layers make of an example is computed once."""

import json
import shutil
from functools import partial
from importlib import import_module

import jax
import numpy as np
import pytest
import torch

import jaxnets
import torchnets
from experiment.runs import checkpoint
from experiment.weights.safetensors_file import read_weights
from jaxnets.frozen import parts as jax_parts
from parity import to_flax
from parity.sides.compilation import QUICK_COMPILATION
from tests.quick import slow_unless
from tests.test_commands import FRAMEWORKS, start
from tests.test_resume import forget_after, result
from tests.weight_files import shrink
from torchnets.frozen import parts as torch_parts

DIGITS = 1797
OPTIONS = "--model resnet50_transfer --epochs 2 --batch-size 128 --optimizer adamw --ema 0.9 --checkpoint-every 1epoch"


@pytest.fixture
def frozen_run(run_main, monkeypatch, tmp_path):
    """Train a small frozen network: -> its run folder, and how many inputs and features it has predicted from."""
    shrink(monkeypatch, "resnet50_transfer")

    def run(framework: str, *more: object, parts: bool = True, out: str = "run"):
        backend, counts = import_module(f"{framework}.loop"), {"inputs": 0, "features": 0}
        predict = backend.predict

        def counted(model, variables, loader, config):
            shape = loader.split.inputs.shape
            counts["features" if shape[1:3] == (1, 1) else "inputs"] += shape[0]
            return predict(model, variables, loader, config)

        with monkeypatch.context() as patch:
            patch.setattr(backend, "predict", counted)
            if not parts:
                patch.setattr(backend, "parts", lambda _: None)
            code, stdout, err = run_main(f"{framework}.train", *OPTIONS.split(), "--out", out, *more)
        assert (code, err) == (0, "")
        assert ("features of the frozen layers: computed once for 1,797 examples" in stdout) == (
            counts["features"] > 0
        )
        return tmp_path / out, counts

    return run


def test_the_parts_are_the_whole():
    entry = jaxnets.MODELS["resnet50_transfer"]
    options = {**entry.small.options, **entry.small.quick}
    net = torchnets.MODELS["resnet50_transfer"].build(**options).double().eval()
    x = np.random.default_rng(0).normal(size=(3, *entry.small.input_shape))
    found, ours = torch_parts(net), jax_parts(entry.build(**options))
    assert found
    assert ours
    (frozen, head), (body, top) = found, ours
    with torch.no_grad():
        features, whole = frozen(torch.from_numpy(x).movedim(-1, 1)), net(torch.from_numpy(x).movedim(-1, 1))
        assert torch.equal(head(features[:, :, None, None]), whole)
    assert head.state_dict().keys() == net.state_dict().keys()
    variables = to_flax(net.state_dict())
    with jax.enable_x64(True):
        made = jax.jit(partial(body.apply, train=False), compiler_options=QUICK_COMPILATION)(variables, x)
        logits, updated = top.apply(variables, made[:, None, None], train=False, mutable=["batch_stats"])
    for one, other in ((made, features), (logits, whole)):
        assert np.abs(np.asarray(one) - other.numpy()).max() <= 1e-12 * other.abs().max()
    assert jax.tree.all(jax.tree.map(np.array_equal, updated["batch_stats"], variables["batch_stats"]))
    assert jax_parts(jaxnets.build("resnet50")) is torch_parts(torchnets.build("lenet5")) is None


def rows(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("framework", slow_unless(lambda framework: framework == "torchnets", FRAMEWORKS))
def test_it_is_the_training_of_the_whole_network(framework, frozen_run):
    once, counts = frozen_run(framework)
    assert counts["inputs"] == DIGITS
    whole, anew = frozen_run(framework, parts=False, out="whole")
    assert anew["features"] == 0
    assert anew["inputs"] > DIGITS
    for ours, theirs in zip(rows(once), rows(whole), strict=True):
        assert ours["accuracy"] == pytest.approx(theirs["accuracy"], abs=0.005)
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
    before, after = (read_weights(run / "weights.safetensors") for run in (whole, once))
    assert before.keys() == after.keys()
    # float32: batches of another size are rounded otherwise, and two epochs of AdamW divide by small numbers.
    for name, array in before.items():
        trained = "fc" in name
        assert np.array_equal(after[name], array) or trained, name
        assert np.allclose(after[name], array, rtol=1e-3, atol=1e-4), name


@pytest.mark.parametrize("framework", slow_unless(lambda framework: framework == "torchnets", FRAMEWORKS))
def test_it_resumes_bit_by_bit(framework, frozen_run, run_main, tmp_path):
    run, _ = frozen_run(framework, "--keep", 10)
    whole, middle = result(run), int(checkpoint.folders(run)[1].name.removeprefix("step-"))
    again = tmp_path / "again"
    shutil.copytree(run, again, symlinks=True)
    forget_after(again, middle)
    code, out, err = run_main(f"{framework}.train", "--resume", again)
    assert (code, err) == (0, "")
    assert "computed once for 1,797 examples" in out
    assert result(again) == whole


@pytest.mark.parametrize(
    ("option", "value"),
    slow_unless(
        lambda option, _: option == "--augment",
        [("--augment", "flip"), ("--mixup", "0.2"), ("--tta", "flip"), ("--precision", "float64")],
    ),
)
def test_what_differs_from_epoch_to_epoch_is_computed_in_each(option, value, frozen_run):
    _, counts = frozen_run("torchnets", option, value, "--epochs", 1)  # the rule knows no framework
    assert counts["features"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_features_are_computed_in_the_precision_of_the_run(framework, frozen_run):
    once, counts = frozen_run(framework, "--precision", "bfloat16")
    assert counts["inputs"] == DIGITS
    whole, _ = frozen_run(framework, "--precision", "bfloat16", parts=False, out="whole")
    for ours, theirs in zip(rows(once), rows(whole), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_several_processes_share_the_batches_of_features(framework, tmp_path):
    options = ("-m", f"{framework}.train", "--model", "resnet50_transfer", "--epochs", 1, "--batch-size", 128)
    options += ("--dropout", 0, "--optimizer", "momentum", "--lr", 0.01)  # PyTorch's masks are each process's own
    for out, more in (("one", ()), ("two", ("--processes", 2))):
        process = start(*options, *more, "--out", out, cwd=tmp_path)
        said, err = process.communicate(timeout=500)
        assert process.returncode == 0, err
        assert said.count("computed once for 1,797 examples") == 1
    for ours, theirs in zip(rows(tmp_path / "one"), rows(tmp_path / "two"), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
