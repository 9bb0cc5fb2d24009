"""Programs that some version of XLA computes wrong on a CPU, each with the right result by numpy.

Each is as small as it can be: libraries send XLA a part of a program only from a certain size on.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

Arrays = Sequence[np.ndarray]


class Known(NamedTuple):
    """A program that is known to go wrong somewhere."""

    name: str
    source: str  # the public report
    dtype: str
    run: Callable[..., Any]
    right: Callable[..., np.ndarray]  # the same by numpy
    shapes: tuple[tuple[int, ...], ...]  # of its arguments

    def arguments(self) -> Arrays:
        """Return random arguments, the same in every run."""
        rng = np.random.default_rng(0)
        return [rng.normal(size=shape).astype(self.dtype) for shape in self.shapes]


def _row_norms(x: Any, weight: Any) -> Any:
    return jax.vmap(lambda row: jnp.sum((weight @ row) ** 2))(x)


def _product_sum(a: Any, b: Any) -> Any:
    return (a * b).sum(3)


def _broadcast_sum(a: Any, b: Any) -> Any:
    return (a[..., None, None, None, None, None] * b).sum(2)


def _constant_product(x: Any) -> Any:
    return jnp.sum((x @ jnp.full_like(x, 0.5)) * x, axis=-1)


def _dilated_max(x: Any) -> Any:
    window = {"window_dimensions": (2, 1), "window_strides": (2, 1), "padding": ((0, 0), (0, 0))}
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, base_dilation=(1, 2), **window)


def _dilated_max_right(x: np.ndarray) -> np.ndarray:
    right = np.full((x.shape[0] // 2, 2 * x.shape[1] - 1), -np.inf, x.dtype)
    right[:, ::2] = np.maximum(x[::2], x[1::2])
    return right


def known_faults() -> list[Known]:
    """Return all programs, in both precisions where both go wrong."""
    unreported = "none known"
    rows = (
        (
            "squared norms of products",
            "jax-ml/jax 39103",
            _row_norms,
            lambda x, weight: ((x @ weight.T) ** 2).sum(1),
            {"float64": ((20001, 3), (3, 3)), "float32": ((40001, 3), (3, 3))},
        ),
        (
            "sum of a product of rank 7",
            "jax-ml/jax 40412",
            _product_sum,
            lambda a, b: (a * b).sum(3),
            {"float32": ((3, 1, 2, 2, 8, 8, 8),) * 2},
        ),
        (
            "sum of a broadcast product of rank 8",
            "jax-ml/jax 39257",
            _broadcast_sum,
            lambda a, b: (a[..., None, None, None, None, None] * b).sum(2),
            {"float32": ((2, 4, 6), (2, 4, 6, 9, 9, 9, 9, 9))},
        ),
        (
            "sum of a product with a constant",
            unreported,
            _constant_product,
            lambda x: ((x @ np.full_like(x, 0.5)) * x).sum(-1),
            {"float64": ((5, 60, 60),), "float32": ((5, 60, 60),)},
        ),
        (
            "maximum over dilated windows",
            "openxla/xla 48714",
            _dilated_max,
            _dilated_max_right,
            {"float64": ((64, 128),), "float32": ((64, 128),)},
        ),
    )
    return [
        Known(name, source, dtype, run, right, shapes)
        for name, source, run, right, cases in rows
        for dtype, shapes in cases.items()
    ]
