"""JAX's pass as a tape, whose cotangents are computed operation by operation.

`Tape` visits the equations like `parity.align.lockstep.Walk` and numbers its nodes in the same way, but computes what
JAX computes, without PyTorch's numbers. A function with a derivative of its own is one entry, and what it computes
inside is kept beside it, so that its rule can be compared with the derivative of its forward pass.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from parity.align.adjoints import adjoint
from parity.trace.jax_eval import as_numpy, bind, floating, line_of
from parity.trace.lines import HERE, Line, belongs_to_user

CUSTOM = ("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr")
STOP = "stop_gradient"
OWN_RULES = (*CUSTOM, STOP)  # whose gradient is not the derivative of what is computed


@dataclass(slots=True, eq=False, repr=False)
class Node:
    """A value of JAX's."""

    array: Any
    data: bool = False  # whether it depends on the inputs
    active: bool = False  # whether it is real and depends on something that has a gradient
    number: int = -1  # of the walk's cell; -1 for what does not depend on data
    maker: "Entry | None" = None
    uses: "list[Entry]" = field(default_factory=list)
    inner: bool = False  # whether it is inside of a function with a derivative of its own


@dataclass(slots=True, eq=False, repr=False)
class Entry:
    """An operation of JAX's."""

    place: int
    name: str
    line: Line | None
    operands: list[Node]
    outputs: list[Node]
    equation: Any = None  # None: rows are taken or put together
    row: int = 0
    inside: list[Node] = field(default_factory=list)  # what a function with its own derivative computes by itself

    @property
    def stack(self) -> tuple[Line, ...]:
        """Return the user's lines on the stack, the innermost first."""
        if self.equation is None or self.equation.source_info.traceback is None:
            return (self.line,) if self.line is not None else ()
        lines = []
        for frame in self.equation.source_info.traceback.frames:
            if frame.file_name.startswith(str(HERE)):  # what is further out calls the checker
                break
            if belongs_to_user(frame.file_name):
                lines.append(Line(frame.file_name, frame.line_num, frame.function_name))
        return tuple(lines)

    @property
    def data(self) -> bool:
        """Return whether an operand depends on the inputs."""
        return any(node.data for node in self.operands)


class Tape:
    """A visitor of JAX's equations that keeps them."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self._count, self._depth = 0, 0

    def constant(self, array: Any) -> Node:
        """Return the node of a constant or a literal."""
        key = jnp.issubdtype(getattr(array, "dtype", np.dtype(float)), jax.dtypes.prng_key)
        return Node(array if key else as_numpy(jnp.asarray(array)))

    def value(self, cell: Node) -> Any:
        """Return a node's array."""
        return cell.array

    def take(self, cell: Node, index: int) -> Node:
        """Return one row of a node."""
        return self._added("take", None, [cell], [cell.array[index]], row=index)[0]

    def stack(self, cells: Sequence[Node], line: Line | None) -> Node:
        """Return rows put together."""
        return self._added("stack", line, cells, [np.stack([cell.array for cell in cells])])[0]

    def step(self, equation: Any, line: Line | None, cells: Sequence[Node]) -> list[Node]:
        """Compute one equation."""
        outputs = bind(equation, [cell.array for cell in cells])
        return self._added(equation.primitive.name, line, cells, outputs, equation)

    def call(self, equation: Any, cells: Sequence[Node], inside: Callable[[], list[Node]]) -> list[Node]:
        """Evaluate a call; one with its own derivative becomes an entry, too."""
        name = equation.primitive.name
        if name not in CUSTOM:
            return inside()
        self._depth += 1
        found = inside()
        self._depth -= 1
        entry = Entry(len(self.entries), name, line_of(equation), list(cells), [], equation, inside=found)
        active = any(cell.active for cell in cells)
        for node in found:
            real = active and floating(node.array)
            entry.outputs.append(Node(node.array, node.data, real, node.number, entry, inner=self._depth > 0))
        self._keep(entry)
        return entry.outputs

    def _added(
        self,
        name: str,
        line: Line | None,
        cells: Sequence[Node],
        arrays: Sequence[Any],
        equation: Any = None,
        row: int = 0,
    ) -> list[Node]:
        entry = Entry(len(self.entries), name, line, list(cells), [], equation, row)
        data, active = any(cell.data for cell in cells), any(cell.active for cell in cells)
        for array in arrays:
            number = self._count if data else -1
            self._count += data
            entry.outputs.append(Node(array, data, active and _real(array), number, entry, inner=self._depth > 0))
        self._keep(entry)
        return entry.outputs

    def _keep(self, entry: Entry) -> None:
        self.entries.append(entry)
        for node in dict.fromkeys(entry.operands):
            node.uses.append(entry)


def pulled(entry: Entry, cotangents: Sequence[np.ndarray | None], opened: Collection[Entry] = ()) -> list[Any]:
    """Return (node, contribution) of what an entry hands back for its results' cotangents; None is zero.

    Args:
        entry: the operation.
        cotangents: of its results.
        opened: entries of `OWN_RULES` that hand back what the derivative of their forward pass is.
    """
    active = [i for i, node in enumerate(entry.operands) if node.active]
    if entry in opened and entry.inside:
        return list(zip(entry.inside, cotangents, strict=True))
    if all(c is None for c in cotangents) or not active:
        return []
    if entry.name == STOP:
        return [(entry.operands[0], cotangents[0] if entry in opened else None)]
    if entry.name == "take":
        whole = np.zeros(np.shape(entry.operands[0].array), cotangents[0].dtype)  # type: ignore[union-attr]
        whole[entry.row] = cotangents[0]
        return [(entry.operands[0], whole)]
    if entry.name == "stack":
        assert cotangents[0] is not None
        return [(entry.operands[i], cotangents[0][i]) for i in active]
    found = adjoint(entry.equation, [node.array for node in entry.operands], cotangents)
    parts = _derived(entry, active, cotangents) if found is None else [found[i] for i in active]
    return [(entry.operands[i], part) for i, part in zip(active, parts, strict=True)]


def _derived(entry: Entry, active: Sequence[int], cotangents: Sequence[np.ndarray | None]) -> list[np.ndarray]:
    """Return the contributions to some operands by JAX's own derivative of the equation."""
    equation = entry.equation
    fixed = [node.array if _is_key(node.array) else jnp.asarray(node.array) for node in entry.operands]
    kept = [i for i, node in enumerate(entry.outputs) if floating(node.array)]

    def run(*given: Any) -> list[Any]:
        values = list(fixed)
        for i, array in zip(active, given, strict=True):
            values[i] = array
        found = equation.primitive.bind(*values, **equation.primitive.get_bind_params(equation.params))
        found = found if equation.primitive.multiple_results else [found]
        return [found[i] for i in kept]

    given = [fixed[i] for i in active]
    outputs, back = jax.vjp(run, *given)
    seeds = [cotangents[i] for i in kept]
    return [
        np.asarray(c)
        for c in back(
            [jnp.zeros_like(o) if s is None else jnp.asarray(s, o.dtype) for o, s in zip(outputs, seeds, strict=True)]
        )
    ]


def _is_key(array: Any) -> bool:
    return jnp.issubdtype(array.dtype, jax.dtypes.prng_key)


def _real(array: Any) -> bool:
    return not _is_key(array) and floating(array)
