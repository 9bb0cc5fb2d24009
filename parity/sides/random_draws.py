"""What draws random numbers, by the names of both frameworks; neither is imported."""

from collections.abc import Callable, Sequence
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
    def words(self) -> str:
        """Return what is drawn, in words."""
        return "a mask" if self.kind == MASK else self.kind

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


def dependent(draws: Sequence[Draw]) -> str:
    """Return in words which draws are made with the same key, so that their numbers are not independent."""
    seen: dict[bytes, Draw] = {}
    for draw in draws:
        if len(set(draw.keys)) < len(draw.keys):
            return f"JAX draws at {draw.line} with one key for several examples, which are given the same numbers"
        for key in draw.keys:
            if key in seen:
                return f"JAX draws at {seen[key].line} and at {draw.line} with the same key: not independent"
        seen |= dict.fromkeys(draw.keys, draw)
    return ""


def unlike(ours: Draw, theirs: Draw) -> str:
    """Say that PyTorch and JAX draw different counts of numbers."""
    fewer = "JAX" if theirs.size < ours.size else "PyTorch"
    places = f"PyTorch draws {ours.words} {ours.shape} at {ours.line}, JAX {theirs.shape} at {theirs.line}"
    return f"{places}: {fewer} draws fewer and repeats them"


def counted(draws: Sequence[Draw]) -> str:
    """Return in words how many draws there are."""
    if not draws:
        return "none"
    if all(draw.kind == MASK for draw in draws):
        return f"{len(draws)} mask{'s' if len(draws) > 1 else ''}"
    times = {1: "once", 2: "twice"}.get(len(draws), f"{len(draws)} times")
    return f"random numbers {times}"


def counts(ours: Sequence[Draw], theirs: Sequence[Draw]) -> str:
    """Say how often each side draws, and where JAX draws with a key that it has used."""
    again = next((draw for draw in theirs if draw.again), None)
    key = f", with the same key at {again.line} and at {again.again[0]}" if again else ""
    return f"PyTorch draws {counted(ours)} in training mode, JAX {counted(theirs)}{key}"
