"""What rules make of PyTorch's tensors; the same are asked for again and again, walk by walk."""

from collections.abc import Mapping

import numpy as np

from parity.mapping.rule import Rule

MOST = 3 * 10**7  # numbers that are kept


class Made:
    """Arrays by rule, and which numbers of which tensors are in them."""

    def __init__(self, state: Mapping[str, np.ndarray]):
        self.state, self.shapes = state, {key: array.shape for key, array in state.items()}
        self._arrays: dict[Rule, np.ndarray] = {}
        self._numbers: dict[Rule, tuple[tuple[str, np.ndarray | slice], ...]] = {}
        self._kept = 0

    def array(self, rule: Rule) -> np.ndarray:
        """Return what a rule makes; nobody may write to it."""
        known = self._arrays.get(rule)
        if known is None:
            known = np.asarray(rule(self.state))
            if self._fits(known.size):
                self._arrays[rule] = known
        return known

    def numbers(self, rule: Rule) -> tuple[tuple[str, np.ndarray | slice], ...]:
        """Return the tensors that a rule takes numbers of, each with their places in it."""
        if rule.is_permutation:
            return ((rule.sources[0], slice(None)),)
        known = self._numbers.get(rule)
        if known is None:
            start, indices, found = 0, rule.table(self.shapes).indices.ravel(), []
            for key in dict.fromkeys(rule.sources):
                size = int(np.prod(self.shapes[key], dtype=int))
                found.append((key, indices[(indices >= start) & (indices < start + size)] - start))
                start += size
            known = tuple(found)
            if self._fits(indices.size):
                self._numbers[rule] = known
        return known

    def _fits(self, size: int) -> bool:
        self._kept += size
        return self._kept <= MOST
