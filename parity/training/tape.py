"""One step of JAX's, evaluated equation by equation in float64, with every value and what each is computed from.

Values can be put in the place of computed ones, so that what follows is computed from PyTorch's numbers. Where a step
asks for float32 (an optax schedule counts in int32, and `count / steps` is float32 then) or less, float64 is kept:
what is checked is what the step means, not how it rounds. Where each side has which precision is compared by itself.
"""

from collections.abc import Iterator, Mapping, Sequence
from types import SimpleNamespace
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from parity.sides.arrays import x64
from parity.trace.jax_eval import BODIES, as_numpy, bind, evaluate
from parity.trace.lines import Line
from parity.training.backward import program_backward
from parity.training.numbers import LOW, as_wide, restored

AS_IS = ("bitcast_convert_type", "random_bits", "threefry2x32")


class Node:
    """A value of one step."""

    __slots__ = ("array", "back", "line", "name", "number", "parents")

    def __init__(
        self, array: Any, parents: Sequence["Node"] = (), name: str = "", line: Line | None = None, back: bool = False
    ):
        self.array, self.parents, self.name, self.line, self.back = array, tuple(parents), name, line, back
        self.number = -1

    def ancestors(self, size: int | None = None) -> Iterator["Node"]:
        """Yield a node and what it comes from, through values of one size alone if it is given; nearest first."""
        seen: set[int] = {id(self)}
        front: list[Node] = [self]
        while front:
            node = front.pop(0)
            yield node
            for parent in node.parents:
                if id(parent) not in seen and (size is None or np.size(parent.array) == size):
                    seen.add(id(parent))
                    front.append(parent)


class Tape:
    """A visitor that keeps everything."""

    def __init__(self, program: Any, forces: Mapping[int, np.ndarray] | None = None, before: "Tape | None" = None):
        self.program, self.forces = program, dict(forces or {})
        self.backward = program_backward(program)
        self.nodes: list[Node] = []
        self.known = before.nodes if before is not None else []
        self.until = min(self.forces, default=0)  # what comes before it is as it was
        self.inputs: dict[str, Node] = {}
        self.outputs: dict[str, Node] = {}
        self.loss: Node = Node(np.zeros(()))

    def run(self, leaves: Mapping[str, np.ndarray], batch: Sequence[Any]) -> "Tape":
        """Evaluate the step."""
        program = self.program
        cells = [Node(as_wide(leaves[name])) for name in program.names]
        self.inputs = dict(zip(program.names, cells, strict=True))
        cells += [Node(np.asarray(b)) for b in jax.tree.leaves(tuple(batch))]
        with x64(), np.errstate(all="ignore"):
            found = evaluate(program.closed.jaxpr, program.closed.consts, cells, self)
        self.outputs = dict(zip(program.outputs, found[: len(program.outputs)], strict=True))
        self.loss = found[program.loss]
        return self

    def constant(self, array: Any) -> Node:
        """Return the node of a constant or a literal."""
        if jnp.issubdtype(getattr(array, "dtype", np.dtype(float)), jax.dtypes.prng_key):
            return Node(array)
        return Node(restored(as_numpy(jnp.asarray(array))))

    def value(self, cell: Node) -> Any:
        """Return a node's array."""
        return cell.array

    def take(self, cell: Node, index: int) -> Node:
        """Return one row."""
        return self._kept([cell.array[index]], [cell], "slice", cell.line, cell.back)[0]

    def stack(self, cells: Sequence[Node], line: Line | None) -> Node:
        """Return rows put together."""
        back = any(cell.back for cell in cells)
        return self._kept([np.stack([cell.array for cell in cells])], cells, "stack", line, back)[0]

    def step(self, equation: Any, line: Line | None, cells: Sequence[Node]) -> list[Node]:
        """Compute one equation."""
        name, back, at = equation.primitive.name, id(equation) in self.backward, len(self.nodes)
        count = len(equation.outvars)
        if at + count <= min(self.until, len(self.known)):
            arrays = [node.array for node in self.known[at : at + count]]
        else:
            arrays = bind(_widened(equation), [cell.array for cell in cells])
            if name not in AS_IS:
                arrays = [as_wide(array) for array in arrays]
        return self._kept(arrays, cells, name, line, back)

    def _kept(
        self, arrays: Sequence[Any], cells: Sequence[Node], name: str, line: Line | None, back: bool
    ) -> list[Node]:
        nodes = []
        for array in arrays:
            node = Node(array, cells, name, line, back)
            node.number = len(self.nodes)
            if node.number in self.forces:
                node.array = np.asarray(self.forces[node.number], np.float64).reshape(np.shape(array))
            self.nodes.append(node)
            nodes.append(node)
        return nodes


def _widened(equation: Any) -> Any:
    """Return an equation that makes float64 where it says float32."""
    params = equation.params
    wanted = any(_is_single(value) for value in params.values()) or params.get("update_jaxpr") is not None
    if equation.primitive.name in AS_IS or not wanted:
        return equation
    wide = {key: np.dtype(np.float64) if _is_single(value) else value for key, value in params.items()}
    if (scalar := params.get("update_jaxpr")) is not None:
        wide["update_jaxpr"] = _of_numbers(scalar)
    return SimpleNamespace(primitive=equation.primitive, params=wide)


def widened(jaxpr: Any) -> Any:
    """Return a jaxpr in which every equation makes float64 where it says less, for others that evaluate it."""
    equations = []
    for equation in jaxpr.eqns:
        params = _widened(equation).params
        for key in (*BODIES, "cond_jaxpr", "body_jaxpr"):
            if key in params:
                params = {**params, key: _opened(params[key])}
        if "branches" in params:
            params = {**params, "branches": tuple(map(_opened, params["branches"]))}
        given = [_literal(variable) for variable in equation.invars]
        same = params is equation.params and all(a is b for a, b in zip(given, equation.invars, strict=True))
        parts = {"params": params, "invars": given, "outvars": equation.outvars, "source_info": equation.source_info}
        equations.append(equation if same else SimpleNamespace(primitive=equation.primitive, **parts))
    return SimpleNamespace(constvars=jaxpr.constvars, invars=jaxpr.invars, eqns=equations, outvars=jaxpr.outvars)


def _of_numbers(scalar: Any) -> Any:
    """Return what a scatter does to two numbers, in float64."""
    variables = scalar.invars if hasattr(scalar, "invars") else scalar.jaxpr.invars
    if not all(v.aval.dtype in LOW for v in variables):
        return scalar
    inner = getattr(scalar, "jaxpr", scalar)
    made = jax.make_jaxpr(core.jaxpr_as_fun(core.ClosedJaxpr(inner, ())))(*(np.zeros(()) for _ in variables))
    return made if hasattr(scalar, "consts") else made.jaxpr


def _opened(body: Any) -> Any:
    if not hasattr(body, "consts"):
        return widened(body)
    return SimpleNamespace(jaxpr=widened(body.jaxpr), consts=[restored(c) for c in body.consts])


def _literal(variable: Any) -> Any:
    low = isinstance(variable, core.Literal) and getattr(variable.aval, "dtype", None) in LOW
    if not low:
        return variable
    value = restored(np.asarray(variable.val, cast(Any, variable.aval).dtype))
    return core.Literal(value, cast(Any, variable.aval).update(dtype=value.dtype))


def _is_single(value: Any) -> bool:
    return isinstance(value, np.dtype | type) and any(value == low for low in LOW)
