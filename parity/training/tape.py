"""One step of JAX's, evaluated equation by equation in float64, with every value and what each is computed from.

Values can be put in the place of computed ones, so that what follows is computed from PyTorch's numbers. Where a step
asks for float32 (an optax schedule counts in int32, and `count / steps` is float32 then) or less, float64 is kept:
what is checked is what the step means, not how it rounds. Where each side has which precision is compared by itself.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from parity.trace.jax_eval import as_numpy, bind, evaluate, is_key
from parity.trace.lines import Line
from parity.trace.low import AS_IS, as_wide, restored
from parity.training.backward import program_backward


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

    def run(self, leaves: Mapping[str, np.ndarray], batch: Any) -> "Tape":
        """Evaluate the step."""
        program = self.program
        cells = [Node(as_wide(leaves[name])) for name in program.names]
        self.inputs = dict(zip(program.names, cells, strict=True))
        cells += [Node(np.asarray(b)) for b in program.flat(batch)]
        with program.bits(), np.errstate(all="ignore"):
            found = evaluate(program.closed.jaxpr, program.closed.consts, cells, self)
        self.outputs = dict(zip(program.outputs, found[: len(program.outputs)], strict=True))
        self.loss = found[program.loss]
        return self

    def constant(self, array: Any) -> Node:
        """Return the node of a constant or a literal."""
        return Node(array if is_key(array) else restored(as_numpy(array)))

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
            arrays = bind(self.program.wide(equation), [cell.array for cell in cells])
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
