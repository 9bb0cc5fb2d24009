"""The layers, initial weights, optimizers and schedules against PyTorch's own."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from hypothesis import given
from scipy import stats
from torch.optim import lr_scheduler

import jaxnets
import torchnets
from data import Batch
from experiment.config import Config
from experiment.metrics import score
from experiment.schedules import TABLES, factors
from jaxnets.convolution import convolve
from jaxnets.fit import create
from jaxnets.layers import BatchNorm, adaptive_average_pool, conv, flatten, max_pool
from jaxnets.steps import LOSSES, absolute, init_state, train_step
from parity import suite, to_flax
from parity.copy import flatten as flatten_variables
from parity.flax_side import QUICK_COMPILATION
from parity.torchvision import torchvision_module
from torchnets.layers import conv as torch_conv
from torchnets.layers import max_pool as torch_max_pool
from torchnets.steps import LOSSES as TORCH_LOSSES
from torchnets.steps import as_tensor


@pytest.mark.parametrize("name", suite.names())
def test_initial_weights_have_the_references_distribution(name):
    """Kolmogorov-Smirnov on every tensor, and, as that says little of a bias of ten, the spread of all draws."""
    options, shape = small(name)
    init = jax.jit(jaxnets.MODELS[name].build(**options).init, compiler_options=QUICK_COMPILATION)
    ours = [flatten_variables(init(jax.random.key(seed), jnp.zeros((1, *shape)))) for seed in range(3)]
    torch.manual_seed(0)
    theirs = [flatten_variables(to_flax(torchnets.MODELS[name].build(**options).state_dict())) for _ in range(3)]
    for path in theirs[0]:
        a, b = (np.concatenate([side[path].ravel() for side in sides]) for sides in (ours, theirs))
        if b.std() == 0:  # a BatchNorm's constants, VGG's zero biases
            assert (a == b).all(), path
        else:
            result: Any = stats.ks_2samp(a, b)
            assert result.pvalue > 1e-8, (path, result)
            assert 0.4 < a.std() / b.std() < 2.5, path
            assert not np.array_equal(ours[0][path], ours[1][path]), path


@pytest.mark.parametrize(
    "name",
    [n for n in suite.names() if torchnets.MODELS[n].num_params < 1_000_000 and not n.startswith("resnet")],
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
    "name", [n for n, e in torchnets.MODELS.items() if e.torchvision and e.num_params < 132_900_000]
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


def compare_convolutions(dims: int, channels: int, outputs: int, kernel: int, stride: int, x: np.ndarray) -> None:
    """Hold value and both gradients against PyTorch's."""
    reference = torch_conv(dims, channels, outputs, kernel, stride, kernel // 2).double()
    layer, variables = conv(dims, channels, outputs, kernel, stride, kernel // 2), to_flax(reference.state_dict())
    tensor = as_tensor(x).requires_grad_()
    expected = reference(tensor)
    (expected**2).sum().backward()

    def objective(variables: Any, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        y = cast(Any, layer).apply(variables, x)
        return (y**2).sum(), y

    with jax.enable_x64(True):
        grads, found = jax.grad(objective, (0, 1), has_aux=True)(variables, jnp.asarray(x))
    by_kernel = cast(Any, reference.weight.grad).permute(*range(2, dims + 2), 1, 0)
    pairs = [
        (np.moveaxis(np.asarray(found), -1, 1), expected.detach()),
        (np.moveaxis(np.asarray(grads[1]), -1, 1), cast(Any, tensor.grad)),
        (np.asarray(grads[0]["params"]["kernel"]), by_kernel),
    ]
    for ours, theirs in pairs:
        assert ours.shape == theirs.shape
        assert np.linalg.norm(ours - np.asarray(theirs)) <= 1e-12 * (np.linalg.norm(theirs) + 1e-30)


@hypothesis.settings(max_examples=15)  # each compiles
@given(
    length=st.integers(1, 12),
    kernel=st.integers(1, 9),
    stride=st.integers(1, 4),
    dims=st.sampled_from([1, 2]),
    channels=st.sampled_from([2, 20]),  # few: with a banded kernel
)
def test_convolutions_of_any_size_are_pytorchs_also_where_the_kernel_is_larger_than_the_input(
    length, kernel, stride, dims, channels
):
    x = np.random.default_rng(0).normal(size=(2, *(length,) * dims, channels))
    compare_convolutions(dims, channels, 3, kernel, stride, x)


# The output's gradient is larger than a core's cache: the kernel's is computed by patches (`jaxnets.convolution`).
LARGE = [(2, (6, 40, 41), 3, 1), (2, (4, 57, 60), 1, 1), (2, (7, 71, 70), 5, 2), (1, (3, 3000), 9, 1)]


@pytest.mark.parametrize(("dims", "shape", "kernel", "stride"), LARGE)
def test_large_convolutions_are_pytorchs(dims, shape, kernel, stride):
    compare_convolutions(dims, 9, 32, kernel, stride, np.random.default_rng(0).normal(size=(*shape, 9)))


def plainly(x: jax.Array, kernel: jax.Array, strides: Any, padding: Any, **options: Any) -> jax.Array:
    return jax.lax.conv_general_dilated(x, kernel, strides, padding, **options)


@pytest.mark.parametrize(("shape", "outputs"), [((2, 9, 9, 2), 3), ((6, 40, 41, 9), 32), ((2, 2, 2, 20), 3)])
def test_every_way_to_convolve_maps_and_differentiates_forward_and_twice(shape, outputs):
    rng = np.random.default_rng(0)
    x, towards = rng.normal(size=(2, *shape))
    kernel, direction = rng.normal(size=(2, 3, 3, shape[-1], outputs))
    options = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}

    def derivatives(function: Callable[..., jax.Array]) -> list[jax.Array]:
        convolution = partial(function, strides=(1, 1), padding=((1, 1), (1, 1)), **options)

        def loss(x: Any, kernel: Any) -> jax.Array:
            return (convolution(x, kernel) ** 3).mean()

        twice = jax.jvp(jax.grad(loss, (0, 1)), (x, kernel), (towards, direction))[1]  # the Hessian times a vector
        kernels = jnp.stack([kernel, direction])
        mapped = jax.vmap(jax.grad(loss, 1), (None, 0))(x, kernels)
        return [jax.jvp(convolution, (x, kernel), (towards, direction))[1], *twice, mapped]

    with jax.enable_x64(True):
        for ours, expected in zip(derivatives(convolve), derivatives(plainly), strict=True):
            assert np.linalg.norm(ours - expected) <= 1e-12 * np.linalg.norm(expected)


@hypothesis.settings(max_examples=20)
@given(st.integers(1, 3), st.integers(0, 1), st.sampled_from([1, 2]), st.integers(2, 7))
def test_max_pools_gradient_goes_to_the_first_of_equals_as_in_pytorch(stride, padding, dims, side):
    x = np.random.default_rng(0).integers(0, 2, size=(2, *(side,) * dims, 3)).astype(np.float32)
    tensor = as_tensor(x).requires_grad_()
    expected = torch_max_pool(tensor, 2, stride, padding)
    towards = np.random.default_rng(1).normal(size=np.moveaxis(expected.detach().numpy(), 1, -1).shape)
    (expected * as_tensor(towards.astype(np.float32))).sum().backward()
    found = jax.jit(jax.grad(lambda x: (max_pool(x, 2, stride, padding) * towards).sum()))(x)
    np.testing.assert_allclose(np.moveaxis(np.asarray(found), -1, 1), cast(Any, tensor.grad), atol=1e-6)


def test_max_pool_passes_on_what_is_not_a_number_as_pytorch_does():
    x = np.zeros((1, 2, 4, 1), np.float32)
    for place in np.ndindex(2, 2):
        x[:, place[0], place[1]] = np.nan
        assert np.isnan(pool(x, 2)).ravel().tolist() == [True, False]
        x[:] = 0


pool = jax.jit(max_pool, static_argnums=(1, 2, 3), static_argnames="ceil", compiler_options=QUICK_COMPILATION)


@hypothesis.settings(max_examples=40)  # each compiles
@given(
    side=st.integers(1, 20),
    size=st.integers(1, 5),
    stride=st.integers(1, 4),
    ceil=st.booleans(),
    data=st.data(),
)
def test_max_pool_is_pytorchs_with_padding_and_ceil_mode(side, size, stride, ceil, data):
    padding = data.draw(st.integers(0, size // 2))
    x = np.random.default_rng(0).normal(size=(2, side, side + 1, 3)).astype(np.float32) - 5  # zeros would win (trap 6)
    try:
        expected = torch_max_pool(as_tensor(x), size, stride, padding, ceil=ceil)
    except RuntimeError:  # with `ceil` a window may be larger than what it is laid on, up to a point
        with pytest.raises(ValueError, match="does not fit"):
            pool(x, size, stride, padding, ceil=ceil)
        return
    np.testing.assert_array_equal(pool(x, size, stride, padding, ceil=ceil), expected.permute(0, 2, 3, 1))


@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 9))
def test_adaptive_average_pool_is_pytorchs_where_the_size_does_not_divide(height, width, size):
    x = np.random.default_rng(0).normal(size=(2, height, width, 3)).astype(np.float32)
    expected = torch.nn.functional.adaptive_avg_pool2d(as_tensor(x), size).permute(0, 2, 3, 1)
    np.testing.assert_allclose(adaptive_average_pool(jnp.asarray(x), size), expected, atol=1e-6)


def test_a_frozen_backbone_moves_in_nothing_and_has_no_optimizer_state():
    options, shape = small("resnet50_transfer")
    model = jaxnets.MODELS["resnet50_transfer"].build(**options)
    batch = suite.real_batches(shape, 1, 0)[0]
    batch = Batch(batch.inputs.astype(np.float32), batch.labels)
    tx = jaxnets.optim.make_optimizer(Config(), 3)
    init = jax.jit(model.init, compiler_options=QUICK_COMPILATION)
    state = init_state(model, tx, init(jax.random.key(0), batch.inputs), seed=0)
    before, step = flatten_variables(state.variables), jax.jit(partial(train_step, model, tx))
    for _ in range(3):
        state, _ = step(state, batch)
    after = flatten_variables(state.variables)
    assert after.keys() == before.keys()
    moved = {path for path in before if not np.array_equal(before[path], after[path])}
    assert moved == {path for path in before if path.startswith("params/fc_")}
    held = sum(np.size(leaf) for leaf in jax.tree.leaves(state.opt_state))
    assert held == 2 * sum(before[path].size for path in moved) + 2  # two moments, two counters


@hypothesis.settings(max_examples=20)
@given(st.integers(2, 5), st.integers(1, 4), st.integers(2, 9))
def test_max_pool_and_flatten_are_pytorchs(batch, channels, side):
    x = np.random.default_rng(0).normal(size=(batch, side, side, channels)).astype(np.float32)
    pooled = torch.nn.functional.max_pool2d(as_tensor(x), 2)
    np.testing.assert_array_equal(pool(x, 2), pooled.permute(0, 2, 3, 1))
    np.testing.assert_array_equal(flatten(pool(x, 2)), torch.flatten(pooled, 1))


def test_batch_norm_is_exact_in_float32_far_from_zero():
    # Flax's E[x^2] - E[x]^2 loses everything here (trap 3).
    x = (1e4 + np.random.default_rng(0).normal(size=(512, 3))).astype(np.float32)
    layer = BatchNorm(3)
    variables = layer.init(jax.random.key(0), x, train=False)
    y, after = cast(Any, layer).apply(variables, x, train=True, mutable="batch_stats")
    wide = x.astype(np.float64)
    # float32 resolves 1e4 to 1e-3, which is what is left of x after its mean is taken away.
    np.testing.assert_allclose(np.asarray(y), (wide - wide.mean(0)) / np.sqrt(wide.var(0) + 1e-5), atol=2e-3)
    np.testing.assert_allclose(after["batch_stats"]["var"], 0.9 + 0.1 * wide.var(0, ddof=1), rtol=1e-5)


def test_batch_norm_refuses_a_single_value_as_pytorch_does():
    layer = BatchNorm(3)
    variables = layer.init(jax.random.key(0), jnp.ones((1, 3)), train=False)
    with pytest.raises(ValueError, match="one value per channel"):
        layer.apply(variables, jnp.ones((1, 3)), train=True, mutable="batch_stats")
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        torch.nn.BatchNorm1d(3)(torch.ones(1, 3))


def test_the_torch_view_of_a_batch_is_channels_last_and_shares_its_memory():
    images = np.zeros((4, 6, 5, 3), np.float32)
    view = as_tensor(images)
    assert view.shape == (4, 3, 6, 5)
    assert view.is_contiguous(memory_format=torch.channels_last)
    images[2, 1, 4, 0] = 7
    assert view[2, 0, 1, 4] == 7


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


ORACLES = {
    "constant": lambda n: [1.0] * n,
    "step": lambda n: torch_rates(lambda o, n: lr_scheduler.StepLR(o, math.ceil(n / 3), 0.1), n),
    "cosine": lambda n: torch_rates(lambda o, n: lr_scheduler.CosineAnnealingLR(o, n), n),
    "warmup-cosine": lambda n: optax_rates(optax.warmup_cosine_decay_schedule(1 / (n // 10 + 1), 1.0, n // 10, n), n),
    "onecycle": lambda n: torch_rates(
        lambda o, n: lr_scheduler.OneCycleLR(o, 1.0, total_steps=n, cycle_momentum=False), n
    ),
}


@pytest.mark.parametrize("steps", [10, 99, 100, 1000])
@pytest.mark.parametrize("name", TABLES)
def test_schedules_are_pytorchs_or_optaxs(name, steps):
    np.testing.assert_allclose(factors(name, steps), ORACLES[name](steps), rtol=1e-9, atol=1e-12)


@given(st.sampled_from(sorted(TABLES)), st.integers(1, 500))
def test_schedules_stay_between_0_and_1_for_any_number_of_steps(name, steps):
    table = factors(name, steps)
    assert table.shape == (steps,)
    assert ((table >= 0) & (table <= 1)).all()


def test_a_step_is_a_pure_function_of_state_and_batch():
    entry = jaxnets.MODELS["ann"]
    model, rng = entry.build(), np.random.default_rng(0)
    tx = jaxnets.optim.make_optimizer(Config(), 10)
    images = rng.normal(size=(8, *entry.input_shape)).astype(np.float32)
    batch = Batch(images, rng.integers(0, 10, 8).astype(np.int32))
    state = init_state(model, tx, create(entry, 10, seed=0)[1], seed=3)
    before, step = jax.tree.map(np.array, state.variables), jax.jit(partial(train_step, model, tx))
    (first, metrics), (second, _) = step(state, batch), step(state, batch)
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), first.variables, second.variables))
    assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), before, state.variables))
    assert int(first.step) == 1
    assert metrics.keys() == {"loss", "correct", "grad_norm"}
    other = state._replace(key=jax.random.key(9))  # only dropout hangs on the key
    third, _ = step(other, batch)
    assert not jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), first.variables, third.variables))
