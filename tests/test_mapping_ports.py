"""The candidates hold every rule of the ports in tests/ports, whose true conversions are proved."""

import importlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from parity.mapping.candidates import rules
from tests.ports import NAMES


def flat(tree: Any, prefix: str = "") -> Iterator[tuple[str, np.ndarray]]:
    if isinstance(tree, dict):
        for name, value in tree.items():
            yield from flat(value, f"{prefix}/{name}")
    else:
        yield prefix, np.asarray(tree)


@pytest.mark.parametrize("name", NAMES)
def test_every_leaf_of_a_port_has_its_rule_among_the_candidates(name: str) -> None:
    module = importlib.import_module(f"tests.ports.{name}_torch").make()
    rng = np.random.default_rng(0)
    floats = {key: tensor for key, tensor in module.state_dict().items() if tensor.is_floating_point()}
    state = {key: rng.normal(size=tuple(tensor.shape)) for key, tensor in floats.items()}
    shapes = {key: array.shape for key, array in state.items()}
    leaves = dict(flat(importlib.import_module(f"tests.ports.{name}_jax").weights(state)))
    missing = [
        path
        for path, leaf in leaves.items()
        if not any(np.allclose(rule(state), leaf, rtol=1e-12, atol=1e-12) for rule in rules(shapes, leaf.shape))
    ]
    assert leaves
    assert missing == []
