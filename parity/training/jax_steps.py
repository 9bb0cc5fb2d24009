"""A JAX training as data: the leaves of its state by path, and one step as a jaxpr from leaves to leaves."""

import contextlib
import functools
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from data.errors import UserError
from parity.sides.arrays import bits, flat_tree, is_array, to_numpy, x64
from parity.sides.carries import wide_carries
from parity.sides.faults import explained
from parity.trace.jax_trace import traced
from parity.trace.low import restored
from parity.trace.widened import wide_equation, widened_program
from parity.training.branches import wide_branches
from parity.training.draws import named_draws
from parity.training.made import made_by
from parity.training.program import Given, StepProgram
from parity.training.wide_casts import traced_wide

LOSS_NAMES = ("loss", "train_loss", "total_loss")


class JaxTraining:
    """A state and the step that changes it, in float64, or as its user runs it."""

    def __init__(self, make: Callable[[], Any], *, wide: bool = True):
        self.wide = wide
        with bits(not wide):
            made = made_by(make, "JAX")
            if not (isinstance(made, tuple | list) and len(made) == 2 and callable(made[1])):
                raise UserError("the JAX training must return (state, step)")
            state, self.step = made
            self.graph: Any = None
            if _has_graph(state):
                self.graph, state = nnx.split(state)
            leaves, self.tree = jax.tree.flatten(state)
            names = [name for name, leaf in flat_tree(state) if leaf is not None]
            if len(names) != len(leaves):
                names = [str(i) for i in range(len(leaves))]
            self.names = [_plain(name) for name in names]
            self.static = {n: leaf for n, leaf in zip(self.names, leaves, strict=True) if not _is_leaf(leaf)}
            self.leaves: dict[str, np.ndarray] = {}
            self.keys = {n: jax.random.key_impl(x) for n, x in zip(self.names, leaves, strict=True) if _is_key(x)}
            for name, leaf in zip(self.names, leaves, strict=True):
                if name in self.keys:
                    self.leaves[name] = np.asarray(jax.random.key_data(leaf))
                    continue
                if _is_leaf(leaf):
                    array = to_numpy(jnp.asarray(leaf))
                    low = wide and jnp.issubdtype(array.dtype, jnp.floating)
                    # A single number is a setting: a rate of 0.1, not 0.100000001; so is what a slot starts with.
                    single = array.size > 0 and bool((array == array.flat[0]).all())
                    array = np.full(array.shape, restored(np.asarray(array.flat[0]))) if single else array
                    self.leaves[name] = np.asarray(array, np.float64 if low else None)
        if not self.leaves:
            raise UserError("the JAX training's state holds no array")
        self._traced: dict[Any, Program] = {}

    def program(self, batch: Sequence[Any]) -> "Program":
        """Return the step as a jaxpr, for a batch of these shapes."""
        key = tuple((np.shape(b), str(np.asarray(b).dtype)) for b in jax.tree.leaves(tuple(batch)))
        if key not in self._traced:
            with bits(not self.wide):
                self._traced[key] = Program(self, tuple(batch))
        return self._traced[key]

    def call(self, leaves: Mapping[str, Any], batch: tuple[Any, ...]) -> tuple[dict[str, Any], Any]:
        """Return the leaves after one step, and what the step says of the loss."""
        wrapped = {n: jax.random.wrap_key_data(leaves[n], impl=impl) for n, impl in self.keys.items()}
        given = [wrapped.get(name, leaves.get(name, self.static.get(name))) for name in self.names]
        state = jax.tree.unflatten(self.tree, given)
        if self.graph is not None:
            state = nnx.merge(self.graph, state)
        result = self.step(state, *batch)
        after, told = self._taken(state, result)
        found = dict(zip(self.names, jax.tree.leaves(after), strict=True))
        found |= {name: jax.random.key_data(found[name]) for name in self.keys}
        return {name: jnp.asarray(found[name]) for name in self.leaves}, told

    def _taken(self, state: Any, result: Any) -> tuple[Any, Any]:
        """Tell the new state from the loss; NNX's objects may have been changed in place."""
        structure = self.tree
        for value, told in _readings(result):
            if self.graph is not None and _has_graph(value):
                value = nnx.split(value)[1]
            if jax.tree.structure(value) == structure:
                return value, told
        if self.graph is not None:
            after = nnx.split(state)[1]
            if jax.tree.structure(after) == structure:
                return after, result
        raise UserError("the JAX step must return (state, loss), with a state of the structure that it was given")


class Program(StepProgram):
    """One step of JAX's for batches of one shape."""

    def __init__(self, training: JaxTraining, batch: tuple[Any, ...]):
        self.names = sorted(training.leaves)
        given = jax.tree.map(jnp.asarray, batch)
        leaves = {name: jnp.asarray(training.leaves[name]) for name in self.names}
        try:
            with wide_carries(), wide_branches(), named_draws():
                self.closed, shape = _traced(training, leaves, given)
        except UserError:
            raise
        except Exception as error:
            raise UserError(f"the JAX step cannot be traced: {explained(error)}") from error
        self.outputs = sorted(shape[0])  # as a dict is flattened
        self.loss = len(self.outputs) + _loss_of(shape[1])
        self.count = len(self.names)

    @functools.cached_property
    def single(self) -> bool:  # type: ignore[override]
        """Whether the step computes a number in float32 behind the backward pass, as a schedule does."""
        return any(
            v.aval.shape == () and v.aval.dtype == np.float32
            for equation in self.closed.jaxpr.eqns
            for v in (*equation.invars, *equation.outvars)
            if hasattr(v.aval, "dtype")
        )

    def bits(self) -> Any:
        """Return a context in which JAX has 64 bits."""
        return x64()

    def flat(self, batch: Any) -> list[Any]:
        """Return the arrays of a batch as JAX has them, then what is drawn outside."""
        if isinstance(batch, Given):
            return [*self.flat(batch.batch), *batch.drawn]
        return [np.asarray(b) for b in jax.tree.leaves(tuple(batch))]

    def wide(self, equation: Any) -> Any:
        """Return an equation that makes float64 where it says less."""
        return wide_equation(equation)

    def widened(self, jaxpr: Any, consts: Sequence[Any]) -> Any:
        """Return a closed jaxpr of which each equation is wide."""
        return widened_program(SimpleNamespace(jaxpr=jaxpr, consts=consts))


def _traced(training: JaxTraining, *args: Any) -> tuple[Any, Any]:
    """Return the jaxpr of a step and the tree of its output; without casts to fewer bits if it is to be wide."""
    if training.wide:
        with contextlib.suppress(Exception):  # where a cast cannot be left out
            return traced_wide(training.call, *args)
    return traced(training.call, *args)


def _is_leaf(value: Any) -> bool:
    return is_array(value) or type(value) in (int, float, bool)


def _is_key(value: Any) -> bool:
    return isinstance(value, jax.Array) and jnp.issubdtype(value.dtype, jax.dtypes.prng_key)


def _has_graph(value: Any) -> bool:
    """Tell whether there is an object of NNX's in a value."""
    leaves = jax.tree.leaves(value, is_leaf=lambda x: isinstance(x, nnx.Module | nnx.Optimizer))
    return any(isinstance(leaf, nnx.Module | nnx.Optimizer) for leaf in leaves)


def _plain(name: str) -> str:
    """Return a path without what NNX's variables add."""
    return "/".join(part for part in name.split("/") if part not in ("value", ".value"))


def _readings(result: Any) -> list[tuple[Any, Any]]:
    """Return what may be (state, loss) in what a step has returned."""
    if not isinstance(result, tuple | list):
        return [(result, None)]
    found = [(result[i], (*result[:i], *result[i + 1 :])) for i in range(len(result))]
    if len(result) > 2:
        found.append((tuple(result[:-1]), result[-1]))
    return [*found, (result, None)]


def _loss_of(told: Any) -> int:
    """Return which of the leaves that a step returns beside its state is the loss."""
    named = [(name, leaf) for name, leaf in flat_tree(told) if leaf is not None]
    numbers = [i for i, (_, leaf) in enumerate(named) if leaf.shape == () and jnp.issubdtype(leaf.dtype, jnp.floating)]
    if not numbers:
        raise UserError("the JAX step must return (state, loss): there is no loss beside the state")
    by_name = [i for i in numbers if named[i][0].rpartition("/")[2] in LOSS_NAMES]
    return (by_name or numbers)[0]
