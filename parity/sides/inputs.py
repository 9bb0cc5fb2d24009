"""Inputs for both sides: by position or by name, each in the layout that the side takes."""

import itertools
from collections.abc import Mapping
from typing import Any

import torch

from data import UserError
from parity.sides.draw import Inputs, drawn, parse_input
from parity.sides.faults import described, explained
from parity.sides.given import (
    BOTH,
    FIRST,
    LAST,
    LAYOUTS,
    SAME,
    arrays,
    channels_first,
    channels_last,
    choices,
    fitted,
    moved,
    normalised,
    said,
)
from parity.sides.jax_inputs import distance, jax_parameters
from parity.sides.jax_side import JaxSide, jax_side
from parity.sides.outputs import named_leaves
from parity.sides.signatures import parameters
from parity.sides.torch_module import TorchModule

MOST = 64  # layouts that are tried
NEAR = 0.02  # a layout in which the two sides are as alike is taken: one of them may have a bias more

__all__ = ["LAYOUTS", "Inputs", "both_inputs", "both_sides", "drawn", "normalised", "parse_input"]


def both_inputs(
    torch_module: Any, model: Any, inputs: Any, jax_inputs: Any = None, layout: str | None = None
) -> tuple[Inputs, Inputs, str]:
    """Return the inputs for PyTorch, those for JAX, and the layout in words.

    Args:
        torch_module: a module, or its `TorchModule`.
        model: what `jax_side` takes.
        inputs: an array, a tuple of arrays, or a dict by name.
        jax_inputs: the same, where JAX is given something else; its layout is left as it is.
        layout: one of `LAYOUTS`, as the inputs are given, or None: what both sides take.
            Several inputs: "image=channels-last,text=same".

    Raises:
        UserError: a side does not take them; one line.
    """
    torch_side, _, ours, theirs, words = both_sides(torch_module, model, inputs, jax_inputs, layout)
    del torch_side
    return ours, theirs, words


def both_sides(
    torch_module: Any, model: Any, inputs: Any, jax_inputs: Any = None, layout: str | None = None
) -> tuple[TorchModule, JaxSide, Inputs, Inputs, str]:
    """Return both sides, too: the JAX side that was made to find the layout need not be made again."""
    module = torch_module if isinstance(torch_module, TorchModule) else TorchModule(torch_module)
    fit = {"PyTorch": parameters(module.module.forward), "JAX": jax_parameters(model)}
    given = normalised(inputs)
    ours, notes = fitted(given, fit["PyTorch"], "PyTorch")
    if jax_inputs is not None:
        theirs = fitted(normalised(jax_inputs), fit["JAX"], "JAX")[0]
        _run(module, ours)
        words = "; ".join(["both sides are given inputs of their own", *notes])
        return module, jax_side(model, *theirs), ours, theirs, words
    notes += fitted(given, fit["JAX"], "JAX")[1]
    side, ours, theirs, words = _laid_out(module, model, given, fit, layout)
    return module, side, ours, theirs, "; ".join([*words, *notes])


def _laid_out(
    module: TorchModule, model: Any, given: Inputs, fit: Mapping[str, Mapping[str, Any]], layout: str | None
) -> tuple[JaxSide, Inputs, Inputs, list[str]]:
    """Return the JAX side and both inputs in the best layout that both take."""
    best: tuple[float, JaxSide, Inputs, Inputs, list[str]] | None = None
    errors: list[tuple[bool, bool, str]] = []  # of PyTorch's before JAX's, of a moved input before one as it is given
    seen: dict[Any, Any] = {}
    for chosen in itertools.islice(choices(arrays(given), convolves_first(module), layout), MOST):
        try:
            ours = fitted(moved(given, chosen, (LAST, BOTH), channels_first), fit["PyTorch"], "PyTorch")[0]
            key = tuple(name for name, way in chosen.items() if way in (LAST, BOTH))
            if key not in seen:
                seen[key] = _tried(module, ours)
            if isinstance(seen[key], UserError):
                raise seen[key]
            theirs = moved(moved(given, chosen, (FIRST,), channels_last), chosen, (BOTH,), channels_first)
            theirs = fitted(theirs, fit["JAX"], "JAX")[0]
            side = jax_side(model, *theirs)
        except UserError as error:
            errors.append(("JAX" in str(error)[:8], all(way == SAME for way in chosen.values()), str(error)))
            continue
        apart = distance(module, side, seen[key])
        if best is None or apart < best[0]:
            best = apart, side, ours, theirs, said(chosen)
        if apart < NEAR:
            break
    if best is None:
        raise UserError(max(errors, key=lambda e: e[:2])[2])
    return best[1:]


def _tried(module: TorchModule, inputs: Inputs) -> Any:
    try:
        return _run(module, inputs)
    except UserError as error:
        return error


def _run(module: TorchModule, inputs: Inputs) -> Any:
    try:
        with module.kept(), torch.no_grad():
            found = named_leaves(module.call(*inputs, train=False))
    except Exception as error:
        given = described(module.module.forward, *inputs)
        raise UserError(f"the PyTorch side cannot be called: {explained(error)}; {given}") from error
    if not found:
        raise UserError(f"the PyTorch side returns no array: {', '.join(found.left_out.values()) or 'nothing'}")
    return found


def convolves_first(module: TorchModule) -> bool:
    """Return whether the first layer with weights takes sequences with their channels first."""
    layers = (m for m in module.module.modules() if any(True for _ in m.parameters(recurse=False)))
    first = (torch.nn.Conv1d, torch.nn.ConvTranspose1d, torch.nn.BatchNorm1d, torch.nn.InstanceNorm1d)
    return isinstance(next(layers, None), first)
