"""Where a JAX step has the gradient of a parameter: what its update takes from a backward pass."""

from collections.abc import Mapping, Sequence

import numpy as np

from parity.report.compare import norm, relative_error, total_norm
from parity.training.tape import Node, Tape

SAME = 1e-9
ZERO = 1e-11  # a gradient that is so much smaller than all together is zero but for rounding (trap 28)


def gradient_node(tape: Tape, leaf: str, gradients: Mapping[str, np.ndarray]) -> Node | None:
    """Return JAX's gradient of a leaf: PyTorch's by value, else what the backward pass hands on to the update."""
    reference = gradients[leaf]
    hits, between = _backward(tape.outputs[leaf], reference.size)
    if norm(reference) > ZERO * total_norm(gradients):
        equal = [
            node
            for node in (*hits, *between)
            if node.parents
            and np.shape(node.array) == reference.shape
            and relative_error(reference, np.asarray(node.array, np.float64)) <= SAME
        ]
        if equal:
            return min(equal, key=lambda node: node.number)
    return _handed_on(hits, between, reference)


def _backward(output: Node, size: int) -> tuple[list[Node], list[Node]]:
    """Return what the update of a parameter takes from backward passes, and what it computes of it."""
    hits, seen, front, between = [], {id(output)}, [output], []
    while front:
        node = front.pop(0)
        if node.back:
            hits.append(node)
            continue
        between.append(node)
        for parent in node.parents:
            if id(parent) not in seen and np.size(parent.array) == size:
                seen.add(id(parent))
                front.append(parent)
    return hits, between


def _handed_on(hits: Sequence[Node], between: Sequence[Node], reference: np.ndarray) -> Node | None:
    """Return the value of a backward pass that an update takes; of several, what they add up to."""
    if not hits:  # a gradient that is stopped is a constant zero
        zeros = (n for n in between if n.name == "broadcast_in_dim" and np.shape(n.array) == reference.shape)
        return next((n for n in zeros if not np.any(n.array)), None)
    if len(hits) == 1:
        return hits[0] if np.shape(hits[0].array) == reference.shape else None
    wanted = {id(hit) for hit in hits}
    sums = [
        node
        for node in between
        if node.number >= 0
        and np.shape(node.array) == reference.shape
        and wanted <= {id(a) for a in node.ancestors(reference.size)}
    ]
    if not sums:
        return None
    first = min(sums, key=lambda node: node.number)
    mean = np.asarray(first.array, np.float64) / len(hits)
    means = (node for node in sums if relative_error(mean, np.asarray(node.array, np.float64)) <= SAME)
    return min(means, key=lambda node: node.number, default=first)
