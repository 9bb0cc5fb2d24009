"""Convolutions of a record are what JAX computes, at once and place by place."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from parity.trace import windows


@pytest.mark.parametrize("most", [1 << 24, 0])
@pytest.mark.parametrize(("groups", "batch_groups", "side"), [(1, 1, 7), (2, 1, 5), (1, 2, 5), (1, 1, 1)])
def test_both_ways_are_what_jax_computes(
    monkeypatch: pytest.MonkeyPatch, most: int, groups: int, batch_groups: int, side: int
) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2 * batch_groups, 3 * groups, side, 6))
    kernel = rng.normal(size=(4 * groups * batch_groups, 3, 2, 3))
    options: dict[str, Any] = {
        "window_strides": (2, 1),
        "padding": ((1, 0), (2, -1)),
        "lhs_dilation": (1, 2),
        "rhs_dilation": (2, 1),
    }
    options |= {"feature_group_count": groups, "batch_group_count": batch_groups}
    numbers = jax.lax.conv_dimension_numbers(x.shape, kernel.shape, ("NCHW", "OIHW", "NCHW"))
    with jax.enable_x64(True):
        given = jnp.asarray(x), jnp.asarray(kernel)
        expected = jax.lax.conv_general_dilated(*given, dimension_numbers=numbers, **options)
    monkeypatch.setattr(windows, "MOST_PATCHES", most)
    found = windows.OPERATIONS["conv_general_dilated"](x, kernel, dimension_numbers=numbers, **options)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, np.asarray(expected), rtol=1e-12, atol=1e-12)
