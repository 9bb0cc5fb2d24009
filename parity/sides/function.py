"""Callables that hold their arrays, as pure functions of arrays by path."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from parity.sides.arrays import bits, is_narrow, narrowed, to_jax, wide, x64
from parity.sides.carries import wide_carries
from parity.sides.conventions import AXIS, Convention, batch_size, called, convention_of, learned
from parity.sides.jax_noise import given
from parity.sides.opened import Opened, is_equinox
from parity.sides.random_draws import Draw
from parity.sides.trial import settle


class FunctionSide:
    """What has been opened, called by the first convention that works."""

    def __init__(
        self,
        found: Opened,
        function: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        consumed: Collection[str] = (),
        axis_name: str | None = None,
    ):
        self.kind, self.trained, self._opened = found.kind, found.trained, found
        self._takes_one = is_equinox(function) and "Vmap" not in type(function).__name__  # Equinox's convention
        self.notes = list(found.notes)
        self.leaves = {name: wide(array) for name, array in found.leaves.items()}
        self.output: Any = None
        self.noise: Sequence[Draw] = ()  # what it draws in evaluation mode, and what it is given in its place
        self.numbers: Sequence[np.ndarray] | None = None
        self.concrete, self.narrow = False, is_narrow()
        how = Convention() if is_vmapped(function) else convention_of(function, len(args), consumed)
        self._how = how._replace(axis_name=axis_name)
        self._settle(args, kwargs)

    def call(
        self, leaves: Mapping[str, Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], *, train: bool
    ) -> tuple[Any, dict[str, Any]]:
        """Return the output tree, and the leaves that are not trained as they are afterwards."""
        args, kwargs = to_jax((args, dict(kwargs)))
        if self.narrow:
            leaves, args, kwargs = narrowed((dict(leaves), args, dict(kwargs)))
        bound = self._opened.bind({name: jnp.asarray(leaves[name]) for name in self.leaves}, train)
        axis = (self._how.axis_name or AXIS) if self._how.batch else None
        with bits(self.narrow), wide_carries(), given(None if train else self.numbers, axis):
            output, after = called(bound, args, kwargs, self._how, train=train)
        return output, {name: leaf for name, leaf in after.items() if name in leaves and name not in self.trained}

    def native(self, leaves: Mapping[str, Any]) -> Any:
        """Return the model, or its tree of parameters, with other arrays, in its own dtypes."""
        with x64():
            own = {n: jnp.asarray(np.asarray(leaves[n]).astype(a.dtype)) for n, a in self._opened.leaves.items()}
            bound = self._opened.bind(own, False)
        return bound.call if bound.native is None else bound.native

    def _settle(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Find the convention: words that are missing are learned from the error; then an example at a time."""
        batches = [False, True] if batch_size(args, kwargs) else [False]
        errors: list[Exception] = []
        for batch in batches[::-1] if self._takes_one else batches:
            how = self._how._replace(batch=batch)
            for _ in range(4):
                self._how = how
                try:
                    settle(self, args, kwargs)
                    if batch:
                        size = batch_size(args, kwargs)
                        self.noise = [draw._replace(shape=(size, *draw.shape)) for draw in self.noise]
                        self.notes.append("the JAX module takes one example: jax.vmap calls it for each")
                    return
                except Exception as error:
                    errors.append(error)
                    if (more := learned(how, error)) is None:
                        break
                    how = more
        raise errors[0]


def is_vmapped(function: Any) -> bool:
    """Return whether `jax.vmap` has made a function: it would map keywords, too."""
    while function is not None:
        if getattr(getattr(function, "__code__", None), "co_name", "") == "vmap_f":
            return True
        function = getattr(function, "__wrapped__", None)
    return False
