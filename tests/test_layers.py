"""The layers against PyTorch's own."""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given

from jaxnets.batch_statistics import normalise
from jaxnets.convolution import convolve
from jaxnets.layers import BatchNorm, adaptive_average_pool, conv, flatten, max_pool
from parity import to_flax
from parity.sides.compilation import QUICK_COMPILATION
from tests.quick import costly, slow_unless
from torchnets.layers import conv as torch_conv
from torchnets.layers import max_pool as torch_max_pool
from torchnets.tensors import as_tensor


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


@costly(15, quick=4)
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


# The output's gradient is larger than a core's cache.
LARGE = [(2, (6, 40, 41), 3, 1), (2, (4, 57, 60), 1, 1), (2, (7, 71, 70), 5, 2), (1, (3, 3000), 9, 1)]


@pytest.mark.parametrize(("dims", "shape", "kernel", "stride"), slow_unless(lambda *case: case[2] in (5, 9), LARGE))
def test_large_convolutions_are_pytorchs(dims, shape, kernel, stride):
    compare_convolutions(dims, 9, 32, kernel, stride, np.random.default_rng(0).normal(size=(*shape, 9)))


@pytest.mark.parametrize(("channels", "outputs", "side"), [(1, 6, 32), (6, 16, 14), (3, 64, 64)])
def test_a_plain_background_stays_one(channels, outputs, side):
    # Else max-pool would take one of its values where PyTorch takes another, and the gradients go different ways.
    layer = conv(2, channels, outputs, 5)
    x = np.full((9, side, side, channels), np.float32(0.3))
    found, _ = jax.jit(layer.init_with_output)(jax.random.key(0), x)
    assert np.array_equal(found, np.broadcast_to(found[:1, :1, :1], found.shape))


def plainly(x: jax.Array, kernel: jax.Array, strides: Any, padding: Any, **options: Any) -> jax.Array:
    return jax.lax.conv_general_dilated(x, kernel, strides, padding, **options)


@pytest.mark.parametrize(("shape", "outputs"), [((2, 9, 9, 2), 3), ((2, 9, 10, 20), 5), ((2, 2, 2, 20), 3)])
def test_every_way_to_convolve_maps_and_differentiates_forward_and_twice(shape, outputs):
    rng = np.random.default_rng(0)
    x, towards = rng.normal(size=(2, *shape))
    kernel, direction = rng.normal(size=(2, 3, 3, shape[-1], outputs))
    options = {"dimension_numbers": ("NHWC", "HWIO", "NHWC")}

    def derivatives(function: Callable[..., jax.Array]) -> list[jax.Array]:
        convolved = partial(function, strides=(1, 1), padding=((1, 1), (1, 1)), **options)

        def loss(x: Any, kernel: Any) -> jax.Array:
            return (convolved(x, kernel) ** 3).mean()

        twice = jax.jvp(jax.grad(loss, (0, 1)), (x, kernel), (towards, direction))[1]  # the Hessian times a vector
        kernels = jnp.stack([kernel, direction])
        mapped = jax.vmap(jax.grad(loss, 1), (None, 0))(x, kernels)
        return [jax.jvp(convolved, (x, kernel), (towards, direction))[1], *twice, mapped]

    with jax.enable_x64(True):
        for ours, expected in zip(derivatives(convolve), derivatives(plainly), strict=True):
            assert np.linalg.norm(ours - expected) <= 1e-12 * np.linalg.norm(expected)


@costly(20)
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


@costly(40)
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


@costly(30)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 9))
def test_adaptive_average_pool_is_pytorchs_where_the_size_does_not_divide(height, width, size):
    x = np.random.default_rng(0).normal(size=(2, height, width, 3)).astype(np.float32)
    expected = torch.nn.functional.adaptive_avg_pool2d(as_tensor(x), size).permute(0, 2, 3, 1)
    np.testing.assert_allclose(adaptive_average_pool(jnp.asarray(x), size), expected, atol=1e-6)


@costly(20)
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


@pytest.mark.parametrize("shape", [(6, 5, 4, 3), (6, 8, 8, 3), (7, 3)])
def test_batch_norm_maps_and_differentiates_forward_and_twice(shape):
    rng = np.random.default_rng(0)
    x, towards = rng.normal(size=(2, *shape))
    scale, bias = rng.normal(size=(2, shape[-1]))

    def plainly(x: Any, scale: Any, bias: Any) -> Any:
        axes = tuple(range(x.ndim - 1))
        return (x - x.mean(axes)) * jax.lax.rsqrt(x.var(axes) + 0.1) * scale + bias

    def derivatives(function: Callable[..., Any]) -> list[Any]:
        def loss(*args: Any) -> Any:
            return (function(*args) ** 3 * towards).mean()

        gradient = jax.grad(loss, (0, 1, 2))
        twice = jax.jvp(gradient, (x, scale, bias), (towards, bias, scale))
        mapped = jax.vmap(gradient, (None, 0, None))(x, jnp.stack([scale, bias]), bias)
        return jax.tree.leaves([jax.jvp(function, (x, scale, bias), (towards, bias, scale)), twice, mapped])

    with jax.enable_x64(True):
        ours, expected = derivatives(partial(normalise, epsilon=0.1)), derivatives(plainly)
        for one, other in zip(ours, expected, strict=True):
            assert np.linalg.norm(one - other) <= 1e-12 * np.linalg.norm(other)


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
