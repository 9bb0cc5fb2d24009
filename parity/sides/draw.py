"""Inputs of the command line.

--input 4,16,16,3 --input time=float:4 --input int:3,12:50 --input mask=lengths:2,9:9,6
"""

import math
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from data import UserError

KINDS = {
    "float": "normal numbers, or between two bounds: float:4,16:0..1",
    "int": "integers below a bound, or between two: int:3,12:50, int:3,12:3..50",
    "bool": "booleans",
    "ones": "ones, as integers",
    "zeros": "zeros, as integers",
    "arange": "0, 1, 2 ... along the last axis",
    "lengths": "a mask of ones up to each example's length: lengths:2,9:9,6",
}
SYNTAX = re.compile(r"(?:(?P<name>[A-Za-z_]\w*)=)?(?:(?P<kind>[a-z]+):)?(?P<shape>[\d,]*)(?::(?P<bounds>[-\d.,]+))?")
USUAL = "such as 4,16,16,3, time=float:4, int:3,12:50 or mask=bool:3,12"


class Inputs(NamedTuple):
    """What a module is called with: numpy's arrays, and other values as they are given."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]


class Drawn(NamedTuple):
    """One input: its name, if it has one, and how it is drawn."""

    name: str
    kind: str
    shape: tuple[int, ...]
    bounds: tuple[float, ...] = ()

    def array(self, rng: np.random.Generator) -> np.ndarray:
        """Return the input, drawn."""
        if self.kind == "float":
            low, high = self.bounds or (0, 0)
            return rng.uniform(low, high, self.shape) if self.bounds else rng.normal(size=self.shape)
        if self.kind == "int":
            return rng.integers(int(self.bounds[0]), int(self.bounds[1]), self.shape)
        if self.kind == "bool":
            return rng.random(self.shape) < 0.5
        if self.kind == "lengths":
            return (np.arange(self.shape[-1]) < np.array(self.bounds)[:, None]).astype(np.int64)
        if self.kind == "arange":
            return np.broadcast_to(np.arange(self.shape[-1]), self.shape).copy()
        return np.full(self.shape, int(self.kind == "ones"))


def parse_input(text: str, option: str = "--input") -> Drawn:
    """Return how one input is drawn, of [NAME=][KIND:]SHAPE[:BOUNDS].

    Raises:
        UserError: the text is not of this form; one line.
    """
    match = SYNTAX.fullmatch(text.replace(" ", ""))
    if match is None or not match["shape"]:
        raise UserError(f"{option} {text}: expected [NAME=][KIND:]SHAPE[:BOUND], {USUAL}")
    kind = match["kind"] or "float"
    if kind not in KINDS:
        raise UserError(f"{option} {text}: '{kind}' is none of {', '.join(KINDS)}")
    try:
        shape = tuple(int(side) for side in match["shape"].rstrip(",").split(","))
        bounds = tuple(float(b) for b in re.split(r"\.\.|,", match["bounds"] or "") if b)
    except ValueError:
        raise UserError(f"{option} {text}: a shape is sizes with commas between, {USUAL}") from None
    if min(shape) < 1:
        raise UserError(f"{option} {text}: every size of a shape is at least 1")
    return Drawn(match["name"] or "", kind, shape, _bounds(f"{option} {text}", kind, shape, bounds))


def _bounds(where: str, kind: str, shape: tuple[int, ...], bounds: tuple[float, ...]) -> tuple[float, ...]:
    if kind == "int":
        both = (0.0, *bounds) if len(bounds) == 1 else bounds
        if len(both) != 2 or both[0] >= both[1] or any(b % 1 for b in both):
            raise UserError(
                f"{where}: give the bound that the integers are below, int:3,12:50, or two, int:3,12:3..50"
            )
        return both
    if kind == "lengths":
        if len(shape) != 2 or len(bounds) != shape[0] or not all(1 <= b <= shape[1] and b % 1 == 0 for b in bounds):
            raise UserError(f"{where}: give a shape (N, T) and N lengths of at most T, lengths:2,9:9,6")
        return bounds
    if kind == "float" and bounds:
        if len(bounds) != 2 or not -math.inf < bounds[0] < bounds[1]:
            raise UserError(f"{where}: give two bounds that floats are between, float:4,16:0..1")
        return bounds
    if bounds:
        raise UserError(f"{where}: {kind} takes no bound")
    return ()


def drawn(specs: Sequence[Drawn | str], seed: int = 0, option: str = "--input") -> Inputs:
    """Return inputs, each drawn from the seed, its number and nothing else; those with a name are given by name.

    Raises:
        UserError: a text is not of the form, or a name is given twice; one line.
    """
    parsed = [parse_input(spec, option) if isinstance(spec, str) else spec for spec in specs]
    names = [spec.name for spec in parsed if spec.name]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise UserError(f"{option}: the name {twice} is given twice")
    arrays = [spec.array(np.random.default_rng([seed, number])) for number, spec in enumerate(parsed)]
    args = tuple(array for spec, array in zip(parsed, arrays, strict=True) if not spec.name)
    return Inputs(args, {spec.name: array for spec, array in zip(parsed, arrays, strict=True) if spec.name})
