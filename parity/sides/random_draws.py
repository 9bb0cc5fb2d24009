"""What draws random numbers, by the names of both frameworks; neither is imported."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from parity.trace.jax_eval import BODIES
from parity.trace.lines import Line

MASK, UNIFORM, NORMAL, OTHER = "mask", "uniform numbers", "normal numbers", "other random numbers"
TORCH = {
    **dict.fromkeys(("bernoulli", "bernoulli_", "native_dropout"), MASK),
    **dict.fromkeys(("rand", "rand_like", "uniform_"), UNIFORM),
    **dict.fromkeys(("randn", "randn_like", "normal_"), NORMAL),
    **dict.fromkeys(
        ("randint", "randint_like", "random_", "randperm", "multinomial", "exponential_", "normal"), OTHER
    ),
}
JAX = {"_bernoulli": MASK, "_uniform": UNIFORM, "_normal": NORMAL}


class Draw(NamedTuple):
    """Random numbers that one operation asks for."""

    kind: str
    shape: tuple[int, ...]
    keep: float | None = None  # of a mask: the share of ones; None: not known
    line: Line | None = None
    keys: tuple[bytes, ...] = ()  # of JAX's generator, one or one for each example; (): not known
    again: tuple[Line | None, ...] = ()  # where JAX draws the same numbers again, with the same keys

    @property
    def size(self) -> int:
        """Return how many numbers there are."""
        return int(np.prod(self.shape, dtype=int))

    def repeats(self, other: "Draw") -> bool:
        """Tell whether JAX draws the same numbers as in another draw."""
        return bool(self.keys) and self._replace(line=None, again=()) == other._replace(line=None, again=())


Supply = Callable[[Draw], np.ndarray]  # called once for each draw, in order


def draws_numbers(equation: Any) -> bool:
    """Tell whether an equation draws random numbers anywhere inside."""
    bodies = [equation.params[key] for key in (*BODIES, "cond_jaxpr", "body_jaxpr") if key in equation.params]
    bodies += list(equation.params.get("branches", ()))
    inner = (e for body in bodies for e in getattr(body, "jaxpr", body).eqns)
    return any(e.primitive.name == "random_bits" or draws_numbers(e) for e in inner)


def own_numbers(draw: Draw, rng: np.random.Generator) -> np.ndarray:
    """Return random numbers of the kind that is asked for."""
    if draw.kind == MASK:
        return (rng.random(draw.shape) < (0.5 if draw.keep is None else draw.keep)).astype(np.float64)
    return rng.random(draw.shape) if draw.kind == UNIFORM else rng.normal(size=draw.shape)
