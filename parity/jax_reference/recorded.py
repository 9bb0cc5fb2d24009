"""What a JAX model computes as a trace: the same as PyTorch's, so that another JAX model can be walked along it."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from parity.sides.arrays import is_float, to_numpy, x64
from parity.sides.compilation import QUICK_COMPILATION
from parity.sides.draw import Inputs
from parity.sides.jax_side import JaxSide, jax_side
from parity.sides.outputs import Leaves, named_leaves
from parity.sides.pairing import Twin
from parity.sides.reference import Pass, Statistics
from parity.trace.jax_eval import as_numpy, bind, evaluate
from parity.trace.jax_trace import plain_convolutions, traced
from parity.trace.lines import Line
from parity.trace.values import Op, Ref, Trace, Value, is_single

NOISE = ("random_bits[", "rng_bit_generator[")
LEAST = 1e-6  # share of the new statistics below which a training step says nothing about them


class JaxReference:
    """A JAX model with the interface of a PyTorch module that is the reference: `parity.sides.reference.Reference`."""

    def __init__(self, model: Any, inputs: Inputs):
        self.side: JaxSide = jax_side(model, *inputs)
        self.inputs, self.notes = inputs, self.side.notes
        self.leaves = dict(self.side.leaves)
        self.trained, self.saved = self.side.trained, frozenset(self.side.leaves)
        self.tied: dict[str, str] = {}

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        """Return copies of all leaves by path."""
        return {path: np.array(array) for path, array in self.leaves.items()}

    def randomise(self, seed: int) -> None:
        """Give constant weights numbers at which nothing is special, statistics those of the inputs, moved at random.

        What a step makes of statistics depends on them linearly, whatever the momentum is: two steps, from zeros and
        from ones, tell those of the batch.
        """
        rng = np.random.default_rng(seed)
        for path, array in self.leaves.items():
            if path in self.trained and np.ptp(array) == 0:
                drawn = rng.uniform(0.5, 1.5, array.shape) if array.any() else rng.normal(0, 0.1, array.shape)
                self.leaves[path] = drawn.astype(array.dtype)
        kept = {path: a for path, a in self.leaves.items() if path not in self.trained and is_float(a)}
        zeros, ones = (self._after({p: np.full_like(a, value) for p, a in kept.items()}) for value in (0, 1))
        for path in sorted(zeros.keys() & ones.keys() & kept.keys()):
            share = 1 - (ones[path] - zeros[path])
            with np.errstate(all="ignore"):
                drawn = zeros[path] / share * rng.uniform(0.5, 1.5, share.shape)
            if (np.abs(share) > LEAST).all() and np.isfinite(drawn).all():
                self.leaves[path] = drawn

    def run(self, leaves: Mapping[str, Any], *, train: bool) -> tuple[Any, dict[str, np.ndarray]]:
        """Return the output tree, and the leaves that a training step changes."""
        with x64():
            output, after = self.side.call(leaves, *self.inputs, train=train)
        return output, {path: np.asarray(array) for path, array in after.items()}

    @property
    def sizes(self) -> dict[str, int]:
        """Return how many numbers each leaf has."""
        return {path: array.size for path, array in self.leaves.items()}

    def recorded(self, inputs: Inputs) -> Pass:
        """Return a forward pass in evaluation mode, operation by operation."""
        recorder = Recorder()
        with x64():
            closed, tree, given = _traced(self.side, self.leaves, inputs)
            cells = [recorder.leaf(path, self.leaves[path]) for path in sorted(self.leaves)]
            cells += [recorder.input(array) for array in given]
            with np.errstate(all="ignore"):
                results = evaluate(closed.jaxpr, closed.consts, cells, recorder)
        found = named_leaves(jax.tree.unflatten(jax.tree.structure(tree), [np.asarray(n) for n in results]))
        numbers = {name: int(number) for name, number in found.items()}
        outputs = {name: recorder.trace.values[number].array for name, number in numbers.items()}
        return Pass(recorder.trace, Leaves(outputs, found.left_out), numbers)

    def float32_outputs(self, inputs: Inputs) -> dict[str, np.ndarray]:
        """Return the outputs of the model in float32."""
        narrow = lambda a: a.astype(np.float32) if getattr(a, "dtype", None) == np.float64 else a  # noqa: E731
        leaves = {path: narrow(array) for path, array in self.leaves.items()}
        with x64():
            output = self.side.call(leaves, *jax.tree.map(narrow, (inputs.args, dict(inputs.kwargs))), train=False)[0]
        return {name: to_numpy(array) for name, array in named_leaves(output).items()}

    def gradients(
        self, inputs: Inputs, among: Collection[str] | None = None
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Return the gradients, in evaluation mode, of a weighted sum of outputs, and the weights of the sum."""
        rng = np.random.default_rng(1)
        outputs = named_leaves(self.run(self.leaves, train=False)[0])
        wanted = {name: array for name, array in outputs.items() if among is None or name in among}
        floats = {name: array for name, array in wanted.items() if is_float(array)}
        weights = {name: rng.normal(size=array.shape) for name, array in floats.items()}
        return differentiated(self.side, self.leaves, inputs, weights, None, train=False)[0], weights

    def float32_errors(
        self, _inputs: Inputs, reference: Mapping[str, Any], _cotangents: Mapping[str, np.ndarray]
    ) -> dict[str, float]:
        """Return a bound of float32's relative errors in place of their measure."""
        return dict.fromkeys(reference, LEAST)

    def statistics(self, inputs: Inputs) -> Statistics:
        """Return what a training step makes of statistics."""
        after = self.run(self.leaves, train=True)[1]
        return Statistics(len(after), int(draws(self.side, self.leaves, inputs)), after, {})

    def _after(self, statistics: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        try:
            return self.run({**self.leaves, **statistics}, train=True)[1] if statistics else {}
        except Exception:  # it cannot be trained; its pass in evaluation mode may still be compared
            return {}


class Recorder:
    """A visitor of JAX's equations that keeps a trace; a cell is the number of a value."""

    def __init__(self) -> None:
        self.trace = Trace()

    def leaf(self, path: str, array: np.ndarray) -> int:
        """Return the cell of a parameter or a statistic."""
        return self.trace.add(Value(np.asarray(array), keys=frozenset([path])))

    def input(self, array: Any) -> int:
        """Return the cell of an input."""
        return self.trace.add(Value(np.asarray(array), data=True))

    def constant(self, array: Any) -> int:
        """Return the cell of a constant or a literal."""
        array = as_numpy(array) if hasattr(array, "dtype") else np.asarray(array)
        low = isinstance(array, np.ndarray) and array.size > 1 and is_single(array)
        return self.trace.add(Value(array, low=low))

    def step(self, equation: Any, line: Line | None, cells: Sequence[int]) -> list[int]:
        """Compute one equation."""
        outputs = bind(equation, [self.trace.values[n].array for n in cells])
        scope = str(equation.source_info.name_stack)
        return self._made(equation.primitive.name, outputs, cells, line, scope)

    def value(self, cell: int) -> Any:
        """Return a cell's array."""
        return self.trace.values[cell].array

    def take(self, cell: int, index: int) -> int:
        """Return the cell of one row."""
        return self._made("slice", [self.trace.values[cell].array[index]], [cell], None)[0]

    def stack(self, cells: Sequence[int], line: Line | None) -> int:
        """Return the cell of rows put together."""
        return self._made("stack", [np.stack([self.trace.values[n].array for n in cells])], cells, line)[0]

    def _made(
        self, name: str, outputs: Sequence[Any], cells: Sequence[int], line: Line | None, scope: str = ""
    ) -> list[int]:
        given, number = [self.trace.values[n] for n in cells], len(self.trace.ops)
        data = any(value.data for value in given)
        keys = frozenset[str]() if data else frozenset().union(*(value.keys for value in given))
        low = [jnp.issubdtype(a.dtype, jnp.floating) and a.dtype.itemsize < 8 for a in outputs]
        made = [
            self.trace.add(Value(a, number, data, keys, low=narrow)) for a, narrow in zip(outputs, low, strict=True)
        ]
        settings = tuple(Ref(n) for n in cells)
        self.trace.add_op(Op(name, tuple(cells), tuple(made), line, scope, settings, {}))
        return made


def _traced(side: JaxSide, leaves: Mapping[str, Any], inputs: Inputs) -> tuple[Any, Any, list[Any]]:
    """Return the jaxpr of a pass in evaluation mode, the tree of its output, and its inputs in the jaxpr's order."""
    arrays = {path: jnp.asarray(array) for path, array in leaves.items()}
    given = jax.tree.map(jnp.asarray, (inputs.args, dict(inputs.kwargs)))
    run = lambda leaves, given: side.call(leaves, *given, train=False)[0]  # noqa: E731
    with plain_convolutions():
        if side.concrete:
            return *traced(lambda leaves: side.call(leaves, *inputs, train=False)[0], arrays), []
        return *traced(run, arrays, given), jax.tree.leaves(given)


def differentiated(
    side: JaxSide,
    leaves: Mapping[str, Any],
    inputs: Inputs,
    weights: Mapping[str, np.ndarray],
    same: list[Twin] | None,
    *,
    train: bool,
) -> tuple[dict[str, np.ndarray], list[np.ndarray]]:
    """Return the gradients of the trained leaves and of the inputs; `same` says where a model has the outputs."""
    fixed = {path: array for path, array in leaves.items() if path not in side.trained}

    def weighted(trained: Mapping[str, Any], given: Any, weights: Mapping[str, Any]) -> Any:
        found = named_leaves(side.call({**fixed, **trained}, *given, train=train)[0])
        if same is None:
            return sum((found[name] * weight).sum() for name, weight in weights.items())
        return sum((twin.way(found[twin.jax_name]) * weights[twin.name]).sum() for twin in same if twin.way)

    with x64():
        trained = {path: jnp.asarray(leaves[path]) for path in side.trained}
        given = jax.tree.map(jnp.asarray, (inputs.args, dict(inputs.kwargs)))
        run = jax.grad(weighted, argnums=(0, 1), allow_int=True)
        if not side.concrete:  # one program is compiled in less time than each of its operations
            run = jax.jit(run, compiler_options=QUICK_COMPILATION)
        gradients, by_inputs = run(trained, given, dict(weights))  # given to it: large constants compile slowly
        floats = [a for a in jax.tree.leaves(by_inputs) if jnp.issubdtype(a.dtype, jnp.floating)]
        return {path: np.asarray(array) for path, array in gradients.items()}, [np.asarray(a) for a in floats]


def draws(side: JaxSide, leaves: Mapping[str, Any], inputs: Any) -> bool:
    """Tell whether a model draws random numbers in training mode."""
    with x64():
        arrays = {path: jnp.asarray(array) for path, array in leaves.items()}
        text = str(traced(lambda leaves: side.call(leaves, *inputs, train=True)[0], arrays)[0])
    return any(word in text for word in NOISE)
