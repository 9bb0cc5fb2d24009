"""Random numbers of PyTorch's, as a record has them, in the place of those that JAX draws."""

from collections.abc import Mapping, Sequence

import numpy as np

from parity.sides.laws import options
from parity.sides.random_draws import OTHER, UNIFORM, Draw
from parity.training.draws import Call, DrawingTape
from parity.training.supply import Drawn, repeats


class GivenDraws:
    """What JAX is given at one step: PyTorch's numbers in JAX's layouts; a draw that PyTorch lacks is JAX's own."""

    def __init__(self, tape: DrawingTape, ours: Sequence[Drawn], way: int = 0):
        self.tape, self.ours, self.way = tape, ours, way
        self.ways = 1  # how many layouts there may be
        self.problem = ""

    def by_equation(self) -> Mapping[int, list[np.ndarray]]:
        """Return the numbers of each draw, in the order of evaluation."""
        by_key = {(c.key, c.draw.shape): c.number for c in self.tape.calls if c.number is not None}
        found: dict[int, list[np.ndarray]] = {}
        for call in self.tape.calls:
            number = by_key.get((call.key, call.draw.shape)) if call.number is None else call.number
            numbers = None
            if number is not None and number < len(self.ours):
                numbers = self._fitting(call, self.ours[number])
            array = call.array if numbers is None else np.asarray(numbers, call.array.dtype)
            found.setdefault(call.equation, []).append(array)
        return found

    def _fitting(self, call: Call, given: Drawn) -> np.ndarray | None:
        theirs, (ours, numbers) = call.draw, given
        if OTHER not in (ours.kind, theirs.kind) and (found := options(ours, theirs, numbers)):
            self.ways = max(self.ways, len(found))
            numbers = found[min(self.way, len(found) - 1)]
        elif ours.kind == theirs.kind and repeats(ours.shape, theirs.shape):
            numbers = np.broadcast_to(numbers, theirs.shape)
        else:
            self.problem = self.problem or _unlike(ours, theirs)
            return None
        if theirs.kind == UNIFORM:
            low, high = call.bounds
            return low + numbers * (high - low)
        return numbers


def _unlike(ours: Draw, theirs: Draw) -> str:
    words = f"PyTorch draws {ours.kind} {ours.shape} at {ours.line}, JAX {theirs.kind} {theirs.shape} at {theirs.line}"
    return f"{words}, which a record of the JAX side may tell" if repeats(theirs.shape, ours.shape) else words
