"""Equinox modules that keep statistics in an `equinox.nn.State`."""

import sys
from collections.abc import Mapping
from typing import Any

import jax

from parity.sides.arrays import flat_tree, is_array
from parity.sides.function import FunctionSide
from parity.sides.opened import Bound, Opened, opened


def equinox_with_state(
    model: Any, found: Opened, args: tuple[Any, ...], kwargs: Mapping[str, Any], state: Any = None
) -> FunctionSide:
    """Return the side of an Equinox module, which may keep statistics in an `equinox.nn.State`."""
    equinox = sys.modules["equinox"]
    indices = [leaf for leaf in jax.tree.leaves(model, is_leaf=_is_index) if _is_index(leaf)]
    if state is None and not indices:
        return FunctionSide(found, model, args, kwargs)
    if state is None:
        state, model = equinox.nn.State(model), equinox.nn.delete_init_state(model)
        found = opened(model) or found._replace(leaves={}, trained=frozenset(), bind=lambda *_: Bound(model))
    leaves, treedef = jax.tree.flatten(state)
    names = [f"state/{name}" for name, leaf in flat_tree(state) if leaf is not None]

    def bind(arrays: Mapping[str, Any], train: bool) -> Bound:
        inner = found.bind({name: arrays[name] for name in found.leaves}, train)
        given = jax.tree.unflatten(
            treedef, [arrays[n] if is_array(leaf) else leaf for n, leaf in zip(names, leaves, strict=True)]
        )
        after: dict[str, Any] = {}

        def call(*args: Any, **kwargs: Any) -> Any:
            output, new = inner.call(*args, state=given, **kwargs)
            after.update((f"state/{name}", leaf) for name, leaf in flat_tree(new) if is_array(leaf))
            return output

        return Bound(call, lambda: after)

    own = found.leaves | {n: leaf for n, leaf in zip(names, leaves, strict=True) if is_array(leaf)}
    axis = next((m.axis_name for m in _modules(model) if isinstance(getattr(m, "axis_name", None), str)), None)
    both = Opened(found.kind, own, found.trained, bind)
    return FunctionSide(both, model, args, kwargs, consumed=("state",), axis_name=axis)


def _is_index(leaf: Any) -> bool:
    return type(leaf).__name__ == "StateIndex"


def _modules(model: Any) -> list[Any]:
    """Return an Equinox module and those inside."""
    found: list[Any] = []

    def visit(leaf: Any) -> bool:
        found.append(leaf)
        return False

    jax.tree.leaves(model, is_leaf=visit)
    return found
