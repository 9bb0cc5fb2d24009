"""Equations in numpy, of a model that is here and of a record, are what JAX computes."""

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from parity.records.encode import Arrays, Found
from parity.records.equations import compute
from parity.records.programs import Reader, Writer
from parity.trace import windows
from parity.trace.jax_eval import evaluate
from parity.trace.jax_trace import traced
from parity.trace.program import Numbers


@pytest.mark.parametrize("most", [1 << 24, 0])
@pytest.mark.parametrize(("groups", "batch_groups", "side"), [(1, 1, 7), (2, 1, 5), (1, 2, 5), (1, 1, 1)])
def test_a_convolution_is_what_jax_computes_at_once_and_place_by_place(
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


@pytest.mark.parametrize("kind", ["max", "min", "sum"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int32])
def test_a_pool_is_what_jax_computes(kind: str, dtype: type) -> None:
    x = np.random.default_rng(0).integers(-9, 9, (2, 7, 6, 3)).astype(dtype)
    reduce = {"max": jax.lax.max, "min": jax.lax.min, "sum": jax.lax.add}[kind]
    options: dict[str, Any] = {
        "window_dimensions": (1, 3, 2, 1),
        "window_strides": (1, 2, 1, 1),
        "padding": ((0, 0), (1, 1), (0, 1), (0, 0)),
        "base_dilation": (1, 1, 2, 1),
        "window_dilation": (1, 2, 1, 1),
    }
    with jax.enable_x64(True):
        first = {"max": limits(dtype)[0], "min": limits(dtype)[1], "sum": 0}[kind]
        expected = jax.lax.reduce_window(jnp.asarray(x), np.asarray(first, dtype), reduce, **options)
    found = windows.OPERATIONS[f"reduce_window_{kind}"](x, **options)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, np.asarray(expected))


def limits(dtype: type) -> tuple[Any, Any]:
    return (-np.inf, np.inf) if np.dtype(dtype).kind == "f" else (np.iinfo(dtype).min, np.iinfo(dtype).max)


@pytest.mark.parametrize("reduce", [jax.lax.max, jax.lax.min])
def test_the_gradient_of_a_pool_goes_to_the_first_of_equal_numbers(reduce: Any) -> None:
    """Both as JAX computes it, and from a program that was written to a record and read again."""
    rng = np.random.default_rng(0)
    x, upstream = rng.integers(0, 3, (2, 7, 6, 3)).astype(np.float64), rng.normal(size=(2, 4, 3, 3))

    def weighted(x: Any, upstream: Any) -> Any:
        first = -np.inf if reduce is jax.lax.max else np.inf
        pooled = jax.lax.reduce_window(x, first, reduce, (1, 3, 2, 1), (1, 2, 2, 1), [(0, 0), (1, 1), (0, 0), (0, 0)])
        return (pooled * upstream).sum()

    with jax.enable_x64(True):
        expected = jax.grad(weighted)(jnp.asarray(x), upstream)
        closed, _ = traced(jax.grad(weighted), x, upstream)
        (live,) = evaluated(closed, x, upstream)
    (recorded,) = evaluated(of_a_record(closed), x, upstream)
    for found in (live, recorded):
        np.testing.assert_allclose(found, np.asarray(expected), rtol=1e-12, atol=1e-12)


@pytest.mark.slow
def test_equations_are_what_jax_computes() -> None:
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(2, 8, 8, 4)), rng.normal(size=(3, 3, 2, 6))
    table, rows = rng.normal(size=(5, 3)), np.array([[0, 4], [2, 2]])

    def run(x: Any, kernel: Any, table: Any) -> Any:
        y = jax.lax.conv_general_dilated(
            x, kernel, (2, 1), ((1, 0), (2, 1)), (1, 2), (2, 1), ("NHWC", "HWIO", "NHWC"), 2
        )
        pooled = nn.max_pool(y, (2, 3), (2, 1), "SAME") + nn.avg_pool(y, (2, 3), (2, 1), "SAME")
        chosen = table[rows] + table.at[rows].add(1.0)[rows] + jax.lax.dynamic_slice(table, (4, 0), (2, 3))
        ordered = jnp.sort(x[..., 0], -1)[..., :3] + jax.lax.cumlogsumexp(x[..., :3, 1], 2)
        one = jax.nn.gelu(chosen) + jnp.tile(table[:2], (2, 1)).reshape(2, 2, 3) + jnp.stack([table[:2], table[1:3]])
        return (pooled**2).sum() + jnp.sin(one).sum() + (ordered * jnp.arange(3)).sum() + jnp.argmax(x) * table[0, 0]

    with jax.enable_x64(True):
        both = jax.value_and_grad(run, (0, 1, 2))
        closed, _ = traced(both, x, kernel, table)
        theirs = jax.tree.leaves(both(*map(jnp.asarray, (x, kernel, table))))
    ours = evaluated(of_a_record(closed), x, kernel, table)
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine, np.asarray(other), rtol=1e-10, atol=1e-12)


def evaluated(program: Any, *values: np.ndarray) -> list[Any]:
    return evaluate(program.jaxpr, program.consts, values, Numbers())


def of_a_record(closed: Any) -> Any:
    """The program, written to a record and read again."""
    kept = Arrays(10)
    text = json.dumps(Writer(kept).closed(closed), allow_nan=False)
    return Reader([], Found(kept.all()), compute).closed(without_lines(json.loads(text)))


def without_lines(header: Any) -> Any:
    """A program's header, whose lines are kept elsewhere."""
    if isinstance(header, dict):
        new = {key: without_lines(value) for key, value in header.items()}
        return new | {"eqns": [[*row[:-1], None] for row in new["eqns"]]} if "eqns" in new else new
    return [without_lines(value) for value in header] if isinstance(header, list) else header
