"""Initial weights, losses, optimizers and schedules against PyTorch's own."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from hypothesis import example, given
from scipy import stats
from torch.optim import lr_scheduler

import jaxnets
import jaxnets.compose
import jaxnets.optimizers
import torchnets
import torchnets.optimizers
from data import Batch
from experiment.config import Config
from experiment.loop.metrics import score
from experiment.loop.schedules import TABLES, factors
from jaxnets.gradient_transforms import absolute
from jaxnets.loop import create
from jaxnets.losses import LOSSES
from jaxnets.step import init_state, train_step
from parity import suite, to_flax
from parity.checks.torchvision import torchvision_module
from parity.copy import flatten as flatten_variables
from parity.sides.compilation import QUICK_COMPILATION
from tests.quick import FAMILIES, slow_unless
from torchnets.losses import LOSSES as TORCH_LOSSES


@pytest.mark.parametrize("name", slow_unless(lambda name: name in FAMILIES, suite.names()))
def test_initial_weights_have_the_references_distribution(name):
    """Kolmogorov-Smirnov on every tensor, and, as that says little of a bias of ten, the spread of all draws."""
    options, shape = small(name)
    init = jax.jit(jaxnets.MODELS[name].build(**options).init, compiler_options=QUICK_COMPILATION)
    ours = [flatten_variables(init(jax.random.key(seed), jnp.zeros((1, *shape)))) for seed in range(3)]
    torch.manual_seed(0)
    theirs = [flatten_variables(to_flax(torchnets.MODELS[name].build(**options).state_dict())) for _ in range(3)]
    for path in theirs[0]:
        a, b = (np.concatenate([side[path].ravel() for side in sides]) for sides in (ours, theirs))
        if np.array_equal(theirs[0][path], theirs[1][path]):  # BatchNorm's constants, zero biases, identities
            assert (a == b).all(), path
        else:
            result: Any = stats.ks_2samp(a, b)
            assert result.pvalue > 1e-8, (path, result)
            assert 0.4 < a.std() / b.std() < 2.5, path
            assert not np.array_equal(ours[0][path], ours[1][path]), path


@pytest.mark.parametrize(
    "name",
    slow_unless(
        lambda name: name in ("ann", "lenet5_bn", "m5"),
        [n for n in suite.names() if torchnets.MODELS[n].num_params < 1_000_000 and not n.startswith("resnet")],
    ),
)
def test_small_networks_start_within_pytorchs_default_limits(name):
    """Kernels and biases of a layer are drawn from +-1/sqrt(fan_in), exactly; a ResNet has He's normal weights."""
    entry = jaxnets.MODELS[name]
    variables = flatten_variables(create(entry, 10, seed=0)[1])
    for path, kernel in variables.items():
        if path.endswith("kernel"):
            limit = kernel[..., 0].size ** -0.5
            bias = variables.get(path.replace("kernel", "bias"), kernel)
            for tensor in (kernel, bias):
                assert 0.6 * limit < np.abs(tensor).max() <= limit * (1 + 1e-6) or tensor.size < 20, path


def small(name: str) -> tuple[dict[str, Any], tuple[int, ...]]:
    """The options and the input's shape of a network in its small size."""
    entry = torchnets.MODELS[name]
    return {**entry.small.options, **entry.small.quick}, entry.small.input_shape or entry.input_shape


@pytest.mark.parametrize(
    "name",
    slow_unless(
        lambda name: name != "vgg11",  # vgg11_bn has all of it
        [n for n, e in torchnets.MODELS.items() if e.torchvision and e.num_params < 132_900_000],
    ),
)
def test_initial_weights_are_torchvisions(name):
    """The same distribution in every layer, and the same keys, shapes and order; the head of one's own aside."""
    entry = torchnets.MODELS[name]
    with torch.device("meta"):
        ours, theirs = entry.build(), torchvision_module(name)
    keys = {key: tuple(t.shape) for key, t in ours.state_dict().items() if not key.startswith(entry.head)}
    assert keys == {key: tuple(t.shape) for key, t in theirs.state_dict().items() if not key.startswith(entry.head)}
    torch.manual_seed(0)
    for (key, a), (other, b) in zip(
        first_layers(entry.build), first_layers(partial(torchvision_module, name)), strict=True
    ):
        assert key == other
        assert a.std().item() == pytest.approx(b.std().item(), rel=0.2, abs=1e-9), key


def first_layers(build: Callable[[], Any]) -> list[tuple[str, torch.Tensor]]:
    """The weights of the first convolutions, which are enough to see how a network draws them."""
    found = [(key, t) for key, t in build().state_dict().items() if t.ndim > 1]
    return found[:3]


@pytest.mark.parametrize("num_classes", [35])
@pytest.mark.parametrize("name", suite.names())
def test_every_network_takes_a_number_of_classes(name, num_classes):
    shape = torchnets.MODELS[name].input_shape
    model = jaxnets.MODELS[name].build(num_classes=num_classes)
    inputs = jax.ShapeDtypeStruct((3, *shape), np.float32)
    logits, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), inputs)
    assert logits.shape == (3, num_classes)
    with torch.device("meta"):  # shapes alone: VGG has 138 million parameters
        net = torchnets.MODELS[name].build(num_classes=num_classes).eval()
        assert net(torch.empty((3, shape[-1], *shape[:-1]))).shape == (3, num_classes)


ANY_SIZE = [name for name, entry in torchnets.MODELS.items() if entry.any_size]


@pytest.mark.parametrize("name", ANY_SIZE)
def test_weights_do_not_depend_on_the_size_of_images(name):
    entry, shape = jaxnets.MODELS[name], (75, 90, 3)
    assert entry.any_size
    model, usual = entry.build(), jax.ShapeDtypeStruct((2, *entry.input_shape), np.float32)
    (_, here), (logits, there) = (
        jax.eval_shape(model.init_with_output, jax.random.key(0), inputs)
        for inputs in (usual, jax.ShapeDtypeStruct((2, *shape), np.float32))
    )
    assert jax.tree.map(lambda a, b: a.shape == b.shape, here, there)
    assert here == there
    with torch.device("meta"):
        assert torchnets.MODELS[name].build().eval()(torch.empty((2, 3, 75, 90))).shape == logits.shape


@pytest.mark.parametrize("name", slow_unless(lambda name: name == "quizdnn", ANY_SIZE))
def test_both_compute_the_same_of_other_sizes(name):
    options, (size, *_) = small(name)
    net = torchnets.MODELS[name].build(**options).double().eval()
    x = np.random.default_rng(0).normal(size=(2, size + 11, size + 7, 3))
    with torch.no_grad():
        expected = net(torch.from_numpy(x).movedim(-1, 1)).numpy()
    with jax.enable_x64(True):
        found = np.asarray(jaxnets.MODELS[name].build(**options).apply(to_flax(net.state_dict()), x))
    assert np.abs(found - expected).max() <= 1e-12 * np.abs(expected).max()


def test_a_frozen_backbone_moves_in_nothing_and_has_no_optimizer_state():
    options, shape = small("resnet50_transfer")
    model = jaxnets.MODELS["resnet50_transfer"].build(**options)
    batch = suite.real_batches(shape, 1, 0)[0]
    batch = Batch(batch.inputs.astype(np.float32), batch.labels)
    begin, step = jaxnets.compose.training(model, Config(), 3)
    init = jax.jit(model.init, compiler_options=QUICK_COMPILATION)
    state = begin(init(jax.random.key(0), batch.inputs), 0)
    before, step = flatten_variables(state.variables), jax.jit(step)
    for _ in range(3):
        state, _ = step(state, batch)
    after = flatten_variables(state.variables)
    assert after.keys() == before.keys()
    moved = {path for path in before if not np.array_equal(before[path], after[path])}
    assert moved == {path for path in before if path.startswith("params/fc_")}
    held = sum(np.size(leaf) for leaf in jax.tree.leaves(state.opt_state))
    assert held == 2 * sum(before[path].size for path in moved) + 2  # two moments, two counters


@pytest.mark.parametrize("loss", LOSSES)
def test_losses_are_the_same_in_flax_pytorch_and_numpy(loss):
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(scale=30, size=(50, 7)), rng.integers(0, 7, 50).astype(np.int32)
    expected = float(TORCH_LOSSES[loss](torch.from_numpy(logits), torch.from_numpy(labels).long()))
    with jax.enable_x64(True):
        assert float(LOSSES[loss](jnp.asarray(logits), labels)) == pytest.approx(expected, rel=1e-14)
    assert score(logits, labels, loss).loss == pytest.approx(expected, rel=1e-14)


def test_a_wrong_rank_of_labels_does_not_broadcast():
    with pytest.raises(AssertionError):
        LOSSES["cross-entropy"](jnp.zeros((4, 3)), jnp.zeros((4, 1), jnp.int32))


def test_the_absolute_value_has_pytorchs_gradient_at_zero():
    x = np.array([-2.0, -0.0, 0.0, 3.0], np.float32)
    tensor = torch.from_numpy(x).requires_grad_()
    tensor.abs().sum().backward()
    value, grad = jax.value_and_grad(lambda x: absolute(x).sum())(jnp.asarray(x))
    assert value == 5
    np.testing.assert_array_equal(grad, tensor.grad)


def torch_rates(make: Callable[[Any, int], Any], steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule, rates = make(optimizer, steps), [optimizer.param_groups[0]["lr"]]
    for _ in range(steps - 1):  # OneCycleLR refuses a step past its last one
        optimizer.step()
        schedule.step()
        rates.append(optimizer.param_groups[0]["lr"])
    return rates


def optax_rates(schedule: Callable[[int], Any], steps: int) -> list[float]:
    with jax.enable_x64(True):
        return [float(schedule(step)) for step in range(steps)]


def warmup_cosine(optimizer: Any, steps: int) -> Any:
    """PyTorch's chain of the two; without a warm-up only the second.

    With a milestone at 0 the chain never starts it over, and its recursion doubles the rate: 2 of 2 steps.
    """
    if not (warmup := steps // 10):
        return lr_scheduler.CosineAnnealingLR(optimizer, steps)
    rise = lr_scheduler.LinearLR(optimizer, 1 / (warmup + 1), 1.0, warmup)
    return lr_scheduler.SequentialLR(
        optimizer, [rise, lr_scheduler.CosineAnnealingLR(optimizer, steps - warmup)], [warmup]
    )


ORACLES = {
    "constant": lambda n: [1.0] * n,
    "linear": lambda n: torch_rates(lambda o, n: lr_scheduler.LinearLR(o, 1.0, 0.0, n), n),
    "step": lambda n: torch_rates(lambda o, n: lr_scheduler.StepLR(o, math.ceil(n / 3), 0.1), n),
    "cosine": lambda n: torch_rates(lambda o, n: lr_scheduler.CosineAnnealingLR(o, n), n),
    "warmup-cosine": lambda n: torch_rates(warmup_cosine, n),
    "onecycle": lambda n: torch_rates(
        lambda o, n: lr_scheduler.OneCycleLR(o, 1.0, total_steps=n, cycle_momentum=False), n
    ),
}


@pytest.mark.parametrize("name", TABLES)
@given(st.integers(1, 1000))
@example(10)
@example(100)
@example(1000)
def test_schedules_are_pytorchs(name, steps):
    """For short trainings every length is met: phases of no step, warm-ups of none."""
    for each in (steps, *range(1, 6), 8 + steps % 5):
        np.testing.assert_allclose(factors(name, each), ORACLES[name](each), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("steps", [10, 99, 100, 1000])
def test_warmup_cosine_is_optaxs_too(steps):
    warmup = steps // 10
    expected = optax_rates(optax.warmup_cosine_decay_schedule(1 / (warmup + 1), 1.0, warmup, steps), steps)
    np.testing.assert_allclose(factors("warmup-cosine", steps), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", TABLES)
def test_both_frameworks_take_the_rates_of_the_schedule(name):
    for steps in (1, 2, 3, 5):
        config = Config(optimizer="sgd", schedule=name, lr=0.5)
        tx = jaxnets.optimizers.make_optimizer(config, steps)
        state, taken = tx.init({"w": jnp.zeros(())}), []
        param = torch.nn.Parameter(torch.zeros(()))
        optimizer, schedule = torchnets.optimizers.make_optimizer(config, steps, [param])
        param.grad = torch.ones(())
        for _ in range(steps):
            updates: Any
            updates, state = tx.update({"w": jnp.ones(())}, state, {"w": jnp.zeros(())})
            before = param.item()
            optimizer.step()
            schedule.step()
            taken.append((-float(updates["w"]), before - param.item()))
        expected = 0.5 * np.array(ORACLES[name](steps))
        np.testing.assert_allclose(np.array(taken).T, [expected, expected], rtol=1e-6, atol=1e-7)


@given(st.sampled_from(sorted(TABLES)), st.integers(1, 500))
def test_schedules_stay_between_0_and_1_for_any_number_of_steps(name, steps):
    table = factors(name, steps)
    assert table.shape == (steps,)
    assert ((table >= 0) & (table <= 1)).all()


def test_a_step_is_a_pure_function_of_state_and_batch():
    entry = jaxnets.MODELS["ann"]
    model, rng = entry.build(), np.random.default_rng(0)
    tx = jaxnets.optimizers.make_optimizer(Config(), 10)
    images = rng.normal(size=(8, *entry.input_shape)).astype(np.float32)
    batch = Batch(images, rng.integers(0, 10, 8).astype(np.int32))
    state = init_state(tx, create(entry, 10, seed=0)[1], seed=3)
    before, step = jax.tree.map(np.array, state.variables), jax.jit(partial(train_step, model, tx))
    (first, metrics), (second, _) = step(state, batch), step(state, batch)
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), first.variables, second.variables))
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), before, state.variables))
    assert int(first.step) == 1
    assert metrics.keys() == {"loss", "correct", "grad_norm"}
    other = state._replace(key=jax.random.key(9))  # only dropout hangs on the key
    third, _ = step(other, batch)
    assert not jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), first.variables, third.variables))
