"""The alignment of two traces: values are found in any layout, weights by value, differences where the two part."""

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import nn

from parity.align.search import Aligned, Search
from parity.sides.arrays import x64
from parity.trace.index import Index, laid_out
from parity.trace.jax_trace import traced
from parity.trace.torch_trace import record


class Mixed(nn.Module):
    """Two layers, one of which is cut into halves."""

    def __init__(self) -> None:
        super().__init__()
        self.both = nn.Linear(5, 12)
        self.last = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the gated layer's output."""
        a, b = self.both(x).view(-1, 6, 2).unbind(-1)
        return self.last(torch.sigmoid(a) * b)


LEAVES = {"a": (5, 6), "a_bias": (6,), "b": (5, 6), "b_bias": (6,), "last": (6, 3), "last_bias": (3,)}


def aligned(gate: object) -> tuple[Aligned, dict[str, np.ndarray]]:
    """Align `Mixed` with a function whose gate is given."""
    torch.manual_seed(0)
    module = Mixed().double()
    x = torch.randn(4, 5, dtype=torch.float64)
    states = dict(module.named_parameters())
    output, recorder = record(module, lambda: module(x), [x], states)
    state = {name: p.detach().numpy() for name, p in states.items()}
    leaves = {name: np.zeros(shape) for name, shape in LEAVES.items()}

    def model(p: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        hidden = gate(x @ p["a"] + p["a_bias"]) * (x @ p["b"] + p["b_bias"])  # type: ignore[operator]
        return hidden @ p["last"] + p["last_bias"]

    with x64():
        closed, _ = traced(model, {name: jnp.asarray(a) for name, a in leaves.items()}, jnp.asarray(x.numpy()))
        targets = recorder.numbers_of([output])
        found = Search(recorder.trace, closed, [x.numpy()], leaves, list(leaves), state, targets).run()
    return found, state


def test_weights_are_found_by_value() -> None:
    found, state = aligned(jax.nn.sigmoid)
    known = found.walk.bindings
    assert not found.differences
    assert found.results[0].alike
    rows = state["both.weight"].reshape(6, 2, 5)
    for name, value in {"a": rows[:, 0].T, "b": rows[:, 1].T, "b_bias": state["both.bias"][1::2]}.items():
        (piece,) = known.symbol(name).pieces
        values = known.values([piece])
        assert values is not None
        np.testing.assert_array_equal(values[piece], value)


def test_a_difference_is_where_the_two_part() -> None:
    found, _ = aligned(jnp.tanh)
    walk, difference = found.differences[0]
    cell = walk.cells[difference.cell or 0]
    assert walk.trace.ops[difference.op].name == "sigmoid"
    assert "torch.sigmoid(a) * b" in str(walk.trace.ops[difference.op].line)
    assert cell.name == "tanh"
    assert "gate(" in str(cell.line)


def test_values_are_found_in_any_layout() -> None:
    rng = np.random.default_rng(0)
    array, other = rng.normal(size=(2, 3, 4)), rng.normal(size=(2, 3, 4))
    index = Index()
    index.add(0, other)
    index.add(1, array)
    moved = array.transpose(0, 2, 1) * (1 + 1e-13)
    assert index.find(moved, 1e-9) == [1]
    assert index.find(moved * 1.001, 1e-9) == []
    assert index.find(moved[:1], 1e-9) == []
    assert index.holds(moved[:, 1], 1e-9).all()
    assert not index.holds(moved * 1.001, 1e-9).any()
    half, places = (
        np.where(np.arange(moved.size).reshape(moved.shape) % 2, moved, moved * 1.001),
        np.array([5, 0, 3, 3]),
    )
    assert index.holds(half, 1e-9, places).tolist() == [True, False, True, True]
    placed = laid_out(array, moved, 1e-9)
    assert placed is not None
    np.testing.assert_array_equal(placed, array.transpose(0, 2, 1))
