"""What a step does beside following the gradient: smoothing, clipping, accumulating, averaging, decaying."""

import json
from typing import Any

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import safetensors.numpy
import torch
from hypothesis import given

import jaxnets
import jaxnets.accumulation
import jaxnets.averaging
import jaxnets.compose
import jaxnets.losses
import jaxnets.optimizers
import torchnets
import torchnets.accumulation
import torchnets.averaging
import torchnets.compose
import torchnets.losses
import torchnets.optimizers
from data import Batch
from experiment.config import Config, load_recipe
from experiment.recipes import recipes
from experiment.weights.pretrained import as_built
from jaxnets.gradient_transforms import clip_by_norm
from parity.copy import flatten, to_flax
from parity.suite import build_small, real_batches
from tests.quick import slow_unless
from torchnets.tensors import as_tensors

FRAMEWORKS = ("jaxnets", "torchnets")


def start(name: str, config: Config, weights: np.ndarray | None = None) -> tuple[Any, Any, Any]:
    """Return PyTorch's module, and from the same weights Flax's step and state, all in float64."""
    torch.manual_seed(0)
    net = torchnets.MODELS[name].build().double()
    model = jaxnets.MODELS[name].build()
    init, step = jaxnets.compose.training(model, config, 10, weights)
    variables = jax.tree.map(jnp.asarray, to_flax(net.state_dict()))
    return net, step, init(variables, 0)


def torch_step(net: torch.nn.Module, config: Config, batch: Batch) -> dict[str, np.ndarray]:
    torchnets.compose.training(net, config, 10).step(as_tensors(batch))
    return flatten(to_flax(net.state_dict()))


def assert_close(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert ours.keys() == theirs.keys()
    for path in ours:
        np.testing.assert_allclose(ours[path], theirs[path], rtol=1e-11, atol=1e-13, err_msg=path)


@pytest.mark.parametrize("loss", jaxnets.losses.LOSSES)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("soft", [False, True])
def test_losses_of_smoothed_and_of_mixed_labels_are_pytorchs(loss, smoothing, soft):
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=5, size=(20, 7))
    labels = rng.dirichlet(np.ones(7), 20) if soft else rng.integers(0, 7, 20).astype(np.int32)
    tensors = torch.from_numpy(logits), torch.from_numpy(labels) if soft else torch.from_numpy(labels).long()
    expected = torchnets.losses.LOSSES[loss](*tensors, smoothing=smoothing)
    with jax.enable_x64(True):
        found = jaxnets.losses.LOSSES[loss](jnp.asarray(logits), jnp.asarray(labels), smoothing=smoothing)
    assert float(found) == pytest.approx(float(expected), rel=1e-13)
    if loss == "cross-entropy":  # and PyTorch's own word for it, written out
        targets = labels if soft else np.eye(7)[labels.astype(int)]
        targets = targets * (1 - smoothing) + smoothing / 7
        assert float(found) == pytest.approx(
            -(targets * (logits - np.log(np.exp(logits).sum(1, keepdims=True)))).sum(1).mean()
        )


@given(limit=st.floats(1e-3, 10), scale=st.floats(1e-6, 1e3))
def test_clipping_is_pytorchs(limit, scale):
    rng = np.random.default_rng(0)
    grads = [rng.normal(scale=scale, size=shape) for shape in ((3, 4), (5,))]
    params = [torch.nn.Parameter(torch.zeros(g.shape, dtype=torch.float64)) for g in grads]
    for p, g in zip(params, grads, strict=True):
        p.grad = torch.from_numpy(g.copy())
    torch.nn.utils.clip_grad_norm_(params, limit)
    with jax.enable_x64(True):
        found: Any
        found, _ = clip_by_norm(limit).update([jnp.asarray(g) for g in grads], optax.EmptyState())
    for p, g in zip(params, found, strict=True):
        np.testing.assert_allclose(g, np.asarray(p.grad), rtol=1e-13)


@pytest.mark.parametrize("pieces", slow_unless(lambda pieces: pieces == 3, [2, 3, 5]))
def test_pieces_of_a_batch_come_to_the_whole_in_both_frameworks(pieces):
    with jax.enable_x64(True):
        batch = real_batches((32, 32, 1), 1, 0)[0]
        found = []
        for count in (1, pieces):  # 16 examples: 3 and 5 do not divide it
            some = Config(optimizer="sgd", lr=0.1, l1=1e-3, clip_norm=0.5, accumulate=count)
            net, step, state = start("lenet5", some)
            state, metrics = jax.jit(step)(state, batch)
            found.append((flatten(state.variables), metrics))
            assert_close(found[-1][0], torch_step(net, some, batch))
        assert_close(found[0][0], found[1][0])
        assert float(found[0][1]["loss"]) == pytest.approx(float(found[1][1]["loss"]), rel=1e-12)
        assert int(found[0][1]["correct"]) == int(found[1][1]["correct"])


def test_batch_norm_takes_each_piece_by_itself_in_both_frameworks():
    with jax.enable_x64(True):
        config = Config(optimizer="sgd", lr=0.1, accumulate=3)
        batch = real_batches((32, 32, 1), 1, 0)[0]
        net, step, state = start("lenet5_bn", config)
        state, _ = jax.jit(step)(state, batch)
        assert int(state.variables["batch_stats"]["bn1"]["num_batches_tracked"]) == 3
        theirs = torch_step(net, config, batch)
        ours = flatten(state.variables)
        for path in ours:  # a bias before BatchNorm has no gradient but rounding (trap 28)
            np.testing.assert_allclose(ours[path], theirs[path], rtol=1e-9, atol=1e-13, err_msg=path)


def test_fewer_examples_than_pieces_leave_two_in_each():
    batch = Batch(np.zeros((5, 2)), np.zeros(5, np.int32))
    assert [len(piece.labels) for piece in jaxnets.accumulation.split_batch(batch, 9)] == [3, 2]
    tensors = torch.zeros(5, 2), torch.zeros(5)
    assert [len(labels) for _, labels in torchnets.accumulation.split_batch(tensors, 9)] == [3, 2]
    one = Batch(np.zeros((1, 2)), np.zeros(1, np.int32))
    assert [len(piece.labels) for piece in jaxnets.accumulation.split_batch(one, 2)] == [1]


@given(decay=st.floats(0.01, 0.999), steps=st.integers(1, 5))
def test_the_average_is_that_of_all_steps_with_falling_shares(decay, steps):
    values = np.random.default_rng(0).normal(size=(steps, 3))
    average: Any = {"w": jnp.zeros(3), "count": jnp.zeros((), int)}
    net = torch.nn.Linear(3, 1, bias=False).double()
    mean = torchnets.averaging.make_average(net, decay)
    with jax.enable_x64(True):
        average = jax.tree.map(jnp.asarray, {"w": np.zeros(3), "count": 0})
        for step, value in enumerate(values):
            new: Any = {"w": jnp.asarray(value), "count": jnp.asarray(step + 1)}
            average = jaxnets.averaging.update_average(average, new, jnp.asarray(step), decay)
            with torch.no_grad():
                net.weight.copy_(torch.from_numpy(value)[None])
            mean.update_parameters(net)
    shares = np.array(
        [decay ** (steps - 1) if i == 0 else (1 - decay) * decay ** (steps - 1 - i) for i in range(steps)]
    )
    assert shares.sum() == pytest.approx(1)
    np.testing.assert_allclose(average["w"], shares @ values, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(mean.module.state_dict()["weight"][0], shares @ values, rtol=1e-12, atol=1e-14)
    assert int(average["count"]) == steps  # counters are not averaged


@pytest.mark.parametrize("optimizer", ["sgd", "nesterov", "adamw", "muon"])
@pytest.mark.parametrize("only", [False, True])
def test_decay_leaves_biases_and_norms_alone_only_if_told_to(optimizer, only):
    config = Config(optimizer=optimizer, lr=0.1, weight_decay=0.5, decay_weights_only=only, schedule="constant")
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    tx = jaxnets.optimizers.make_optimizer(config, 1)
    updates, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
    after: Any = optax.apply_updates(params, updates)
    layer = torch.nn.Linear(2, 2)
    rule, _ = torchnets.optimizers.make_optimizer(config, 1, layer.parameters())
    for p in layer.parameters():
        torch.nn.init.ones_(p)
        p.grad = torch.zeros_like(p)
    rule.step()
    moved = {"kernel": float(after["kernel"][0, 0]) < 1, "bias": float(after["bias"][0]) < 1}
    assert moved == {"kernel": True, "bias": not only}
    np.testing.assert_allclose(layer.weight.detach(), after["kernel"], rtol=1e-6)
    np.testing.assert_allclose(layer.bias.detach(), after["bias"], rtol=1e-6)


@pytest.mark.parametrize("framework", ["torchnets", pytest.param("jaxnets", marks=pytest.mark.slow)])
def test_everything_at_once_through_the_command(framework, run_main, tmp_path):
    options = "--model ann --epochs 2 --label-smoothing 0.1 --mixup 0.2 --augment affine,cutout --clip-norm 1"
    more = "--accumulate 2 --ema 0.9 --decay-weights-only --weight-decay 1e-3 --dropout 0.1 --out run"
    code, out, err = run_main(f"{framework}.train", *options.split(), *more.split())
    assert (code, err) == (0, "")
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert summary["test"]["accuracy"] > 0.3
    code, again, _ = run_main(f"{framework}.evaluate", "run")  # the average's weights are those that were saved
    assert again.split("\n")[3].split() == out[out.index("split") :].split("\n")[2].split()


@pytest.mark.parametrize("framework", ["torchnets", pytest.param("jaxnets", marks=pytest.mark.slow)])
def test_patience_stops_and_keeps_the_best_epoch(framework, run_main, tmp_path):
    argv = ("--model", "ann", "--epochs", 40, "--lr", 0.01, "--schedule", "constant", "--patience", 2, "--out", "run")
    code, out, err = run_main(f"{framework}.train", *argv)
    assert (code, err) == (0, "")
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    validation = [row for row in rows if row["split"] == "validation"]
    best = max(range(len(validation)), key=lambda at: validation[at]["accuracy"])  # the first of equals
    assert len(validation) == best + 1 + 2 < 40
    assert f"the weights are those of epoch {best + 1}, the best on the validation examples" in out
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert summary["validation"]["accuracy"] == validation[best]["accuracy"]
    assert summary["epochs"] == len(validation)


@pytest.mark.parametrize("framework", ["torchnets", pytest.param("jaxnets", marks=pytest.mark.slow)])
def test_many_seeds_come_to_a_mean_and_a_deviation(framework, run_main, tmp_path):
    code, out, err = run_main(f"{framework}.train", "--model", "mlp", "--epochs", 1, "--seeds", 3, "--out", "runs")
    assert (code, err) == (0, "")
    single = [json.loads((tmp_path / f"runs/seed-{s}/summary.json").read_text()) for s in range(3)]
    accuracies = [summary["test"]["accuracy"] for summary in single]
    assert len(set(accuracies)) > 1
    summary = json.loads((tmp_path / "runs/summary.json").read_text())
    assert summary["seeds"] == [0, 1, 2]
    assert summary["test"]["accuracy"] == pytest.approx(np.mean(accuracies))
    assert summary["test"]["deviation"] == pytest.approx(np.std(accuracies, ddof=1))
    assert f"test       {np.mean(accuracies):.2%} +- {np.std(accuracies, ddof=1):.2%}" in out
    alone = run_main(f"{framework}.train", "--model", "mlp", "--epochs", 1, "--seed", 2, "--out", "alone")[0]
    assert alone == 0
    assert json.loads((tmp_path / "alone/summary.json").read_text())["test"] == single[2]["test"]


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--dropout", "1"], "--dropout is 1.0, expected from 0 to below 1"),
        (
            ["--model", "mlp", "--dropout", "0.1"],
            "--dropout: 'mlp' has none; these have: alexnet, alexnet_cifar, ann,",
        ),
        (["--model", "resnet18", "--dropout", "0.1"], "--dropout: 'resnet18' has none; these have: alexnet,"),
        (["--label-smoothing", "1"], "--label-smoothing is 1.0, expected from 0 to below 1"),
        (["--mixup", "inf"], "--mixup is inf, expected a finite number, 0 or above"),
        (["--clip-norm", "-1"], "--clip-norm is -1.0, expected a finite number, 0 or above"),
        (["--accumulate", "0"], "--accumulate is 0, expected at least 1"),
        (["--ema", "1"], "--ema is 1.0, expected from 0 to below 1"),
        (["--patience", "-1"], "--patience is -1, expected at least 0"),
        (["--seeds", "0"], "--seeds is 0, expected at least 1"),
        (["--recipe", "lenet5-agument"], "unknown recipe 'lenet5-agument'. Did you mean 'lenet5-augment'? Known:"),
        (["--recipe", "mlp-mnist", "--config", "c.json"], "--config and --recipe both say what the options are;"),
    ],
)
def test_a_bad_option_is_one_clear_line(framework, argv, said, run_main, tmp_path):
    code, _, err = run_main(f"{framework}.train", *argv)
    assert code == 1
    assert err.startswith(f"error: {said}")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_every_recipe_is_listed_with_what_it_comes_to(run_main):
    code, out, _ = run_main("jaxnets.train", "--list-recipes")
    assert code == 0
    for line, (name, recipe) in zip(out.splitlines(), recipes().items(), strict=True):
        assert line.split()[0] == name
        assert line.endswith(recipe.expected or "not yet run")


@pytest.mark.parametrize("name", recipes())
def test_a_recipe_makes_a_step_in_both_frameworks(name):
    """Not how well it trains, only that it does: PyTorch takes the step, Flax's is traced."""
    config = load_recipe(name)
    entries = [as_built(side.MODELS[config.model], config, side.MODELS) for side in (torchnets, jaxnets)]
    shape, net = entries[0].input_shape, entries[0].build(num_classes=10)
    inputs = np.random.default_rng(0).normal(size=(4, *shape)).astype(np.float32)
    batch = Batch(inputs, np.arange(4, dtype=np.int32))
    before = {path: np.array(array) for path, array in flatten(to_flax(net.state_dict())).items()}
    after = torch_step(net, config, batch)
    assert all(np.isfinite(array).all() for array in after.values())
    assert any(not np.array_equal(before[path], after[path]) for path in before)
    model = entries[1].build(num_classes=10)
    init, take_step = jaxnets.compose.training(model, config, 10)

    def step(key: Any) -> Any:
        return take_step(init(model.init(key, inputs), 0), batch)[0].variables

    shapes = jax.eval_shape(step, jax.random.key(0))
    found = {
        path: array.shape
        for path, array in flatten(jax.tree.map(lambda a: np.broadcast_to(0, a.shape), shapes)).items()
    }
    assert found == {path: array.shape for path, array in after.items()}


@pytest.mark.parametrize("name", ["lenet5_bn", pytest.param("m5", marks=pytest.mark.slow)])
def test_bfloat16_rounds_the_same_in_both_frameworks_and_keeps_float32(name):
    """Rounded to eight bits, values tie in max-pools, and right steps are a tenth apart: PyTorch's own says how much.

    Flax's may be three times as far from the exact one, the rule that `parity` has for float32 gradients, too.
    """
    config = Config(optimizer="sgd", lr=0.1, precision="bfloat16", schedule="constant")
    torch_module, flax_module, shape = build_small(name, 0)
    batch = real_batches(shape, 1, 0)[0]
    batch = batch._replace(inputs=batch.inputs.astype(np.float32))
    before = flatten(to_flax(torch_module.state_dict()))
    init, step = jaxnets.compose.training(flax_module, config, 1)
    variables = jax.tree.map(jnp.array, to_flax(torch_module.state_dict()))
    state, metrics = jax.jit(step)(init(variables, 0), batch)
    before = {path: np.array(array) for path, array in before.items()}
    theirs, ours = torch_step(torch_module, config, batch), flatten(state.variables)
    wide = torch_step(build_small(name, 0)[0], Config(optimizer="sgd", lr=0.1, schedule="constant"), batch)
    assert metrics["loss"].dtype == np.float32
    moved = [path for path in before if path.startswith("params/") and "kernel" in path]
    for path in ours:
        assert np.asarray(ours[path]).dtype in (np.float32, np.int32)
        assert theirs[path].dtype in (np.float32, np.int64)
    for path in moved:  # the step itself: what each weight has moved by, and how far that is from float32's step
        steps = [np.asarray(after[path], np.float64) - before[path] for after in (ours, theirs, wide)]
        errors = [np.linalg.norm(step - steps[2]) / np.linalg.norm(steps[2]) for step in steps[:2]]
        assert 1e-4 < errors[0] < 3 * errors[1], (path, errors)  # it is bfloat16 indeed, and as good as PyTorch's
        assert errors[1] < 0.5


@pytest.mark.parametrize("framework", ["torchnets", pytest.param("jaxnets", marks=pytest.mark.slow)])
def test_float64_is_kept_in_the_weights_and_the_other_framework_evaluates_it(framework, run_main, tmp_path):
    argv = ("--model", "ann", "--epochs", 2, "--precision", "float64", "--out", "run")
    code, _, err = run_main(f"{framework}.train", *argv)
    assert (code, err) == (0, "")
    code, out, err = run_main(f"{FRAMEWORKS[framework == 'jaxnets']}.evaluate", "run")
    assert (code, err) == (0, "")
    weights = safetensors.numpy.load_file(tmp_path / "run/weights.safetensors")
    assert {str(array.dtype) for array in weights.values()} == {"float64", "int64"}
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert f"{summary['test']['accuracy']:.2%}" in out
