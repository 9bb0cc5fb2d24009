"""A JAX model's pass in training mode as a jaxpr, its random numbers given from outside."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from parity.sides.arrays import bits, is_float, to_numpy, x64
from parity.sides.crashes import Crash, crash_of
from parity.sides.draw import Inputs
from parity.sides.jax_faults import is_of_call
from parity.sides.jax_passes import in_float64 as widened
from parity.sides.outputs import named_leaves
from parity.sides.random_draws import Draw
from parity.sides.randomness import jax_draws, jax_supplied

Arrays = dict[str, np.ndarray]
ADDRESS = re.compile(r" at 0x[0-9a-f]+")  # of a function with a derivative of its own


class JaxTrainingMode:
    """Passes in training mode of a model that is here."""

    def __init__(self, side: Any, leaves: Mapping[str, Any], inputs: Inputs):
        self.side = side
        how = getattr(side, "_how", None)
        self.switched = bool(how and (how.words or how.keys or how.optional_keys)) or side.kind in ("NNX", "Equinox")
        self.leaves = {path: np.asarray(array) for path, array in leaves.items()}
        self.given = jax.tree.map(np.asarray, (inputs.args, dict(inputs.kwargs)))

    def draws(self) -> list[Draw]:
        """Trace the pass; return what it draws, in order; what it draws again, with the same key, is not repeated."""
        with x64():
            leaves, given = jax.tree.map(jnp.asarray, (self.leaves, self.given))
            self.closed, self.shape = self._traced(leaves, given, train=True)
            found, self.which = jax_draws(self.closed, jax.tree.leaves((leaves, given)))
        return found

    @property
    def as_evaluation(self) -> bool:
        """Whether the program is that of evaluation mode, to be asked after `draws`."""
        with x64():
            leaves, given = jax.tree.map(jnp.asarray, (self.leaves, self.given))
            other = self._traced(leaves, given, train=False)[0]
        texts = (ADDRESS.sub("", str(closed.jaxpr)) for closed in (self.closed, other))
        pairs = zip(self.closed.consts, other.consts, strict=False)
        return next(texts) == next(texts) and all(a is b or np.array_equal(a, b) for a, b in pairs)

    def _traced(self, leaves: Any, given: Any, *, train: bool) -> tuple[Any, Any]:
        def call(leaves: Any, given: Any) -> tuple[dict[str, Any], dict[str, Any]]:
            output, changed = self.side.call(leaves, *given, train=train)
            return dict(named_leaves(output)), changed

        if self.side.concrete:  # it looks at its inputs' values in Python
            return jax.make_jaxpr(lambda leaves, _: call(leaves, self.given), return_shape=True)(leaves, given)
        return jax.make_jaxpr(call, return_shape=True)(leaves, given)

    def computed(self, leaves: Any, given: Any, numbers: Sequence[Any]) -> Any:
        """Return the outputs and the leaves that are changed; traceable, after `draws`."""
        supply = (numbers[number] for number in self.which)
        flat = jax.tree.leaves(jax.tree.map(jnp.asarray, (leaves, given)))
        with bits(self.side.narrow):
            found = jax_supplied(self.closed.jaxpr, self.closed.consts, flat, lambda _: next(supply))
        return jax.tree.unflatten(jax.tree.structure(self.shape), found)

    def differentiated(self, leaves: Any, given: Any, numbers: Sequence[Any], cotangents: Mapping[str, Any]) -> Any:
        """Return the gradients of a weighted sum of the outputs, by leaf; traceable."""
        fixed = {p: a for p, a in leaves.items() if p not in self.side.trained}

        def weighted(trained: Any) -> Any:
            outputs, _ = self.computed({**fixed, **trained}, given, numbers)
            return sum(((outputs[name] * c).sum() for name, c in cotangents.items()), jnp.zeros(()))

        return jax.grad(weighted, allow_int=True)({p: a for p, a in leaves.items() if p in self.side.trained})

    def crash(self) -> Crash | None:
        """Return what a forward and a backward pass of the model as it is raise in training mode, if anything.

        Errors that come from how it is called here are left out: a generator or a collection that it is not given.
        """
        try:
            with x64():
                leaves, given = jax.tree.map(jnp.asarray, (self.leaves, self.given))
                trained = {path: array for path, array in leaves.items() if path in self.side.trained}

                def total(own: Any) -> Any:
                    outputs = named_leaves(self.side.call({**leaves, **own}, *given, train=True)[0])
                    return sum((a.sum() for a in outputs.values() if is_float(a)), jnp.zeros(()))

                total(trained)
                jax.grad(total, allow_int=True)(trained)
        except Exception as error:
            return None if is_of_call(error) else crash_of(error)
        return None

    def outputs(self, numbers: Sequence[np.ndarray]) -> tuple[Arrays, Arrays]:
        """Return the outputs, and the leaves that are changed."""
        with x64():
            return jax.tree.map(to_numpy, self.computed(self.leaves, self.given, numbers))

    def gradients(
        self, numbers: Sequence[np.ndarray], cotangents: Mapping[str, np.ndarray], *, in_float64: bool = False
    ) -> Arrays:
        """Return the gradients of a weighted sum of the outputs, by leaf; the weights are in the outputs' layouts.

        With `in_float64` those of the program that is float64 where the model says less.
        """
        run = lambda leaves: self.differentiated(leaves, self.given, numbers, cotangents)  # noqa: E731
        with x64():
            leaves = jax.tree.map(jnp.asarray, self.leaves)
            found = widened(run, leaves) if in_float64 else run(leaves)
        return {path: np.asarray(gradient) for path, gradient in found.items()}
