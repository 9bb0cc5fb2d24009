"""Inputs for both sides: by position or by name, each in the layout that the side takes."""

import difflib
import inspect
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import torch
from flax import linen, nnx

from data import UserError
from parity.sides.arrays import is_array, is_float, to_numpy
from parity.sides.conventions import MODE_WORDS, key_words, parameters
from parity.sides.draw import Inputs, drawn, parse_input
from parity.sides.faults import described, explained
from parity.sides.jax_side import JaxSide, jax_side
from parity.sides.opened import is_equinox
from parity.sides.outputs import named_leaves
from parity.sides.pair import STATE_WORDS, TREE_WORDS, leads
from parity.sides.torch_module import TorchModule

# How inputs are given: as both sides take them; channels last, and PyTorch, or both sides, take them first; channels
# first, and JAX takes them last.
SAME, LAST, FIRST, BOTH = LAYOUTS = "same", "channels-last", "channels-first", "channels-last-moved"
WORDS = {
    LAST: "channels last as given for JAX, moved first for PyTorch",
    FIRST: "channels first as given for PyTorch, moved last for JAX",
    BOTH: "channels last as given, moved first for both sides",
}
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
        return module, jax_side(model, *theirs, bare=not module.trained), ours, theirs, words
    notes += fitted(given, fit["JAX"], "JAX")[1]
    side, ours, theirs, words = _laid_out(module, model, given, fit, layout)
    return module, side, ours, theirs, "; ".join([*words, *notes])


def normalised(inputs: Any) -> Inputs:
    """Return an array, a tuple, a dict, or a pair of both, as positional inputs and inputs by name."""
    if inputs is None:
        raise UserError("no inputs are given: expected an array, a tuple of arrays, or a dict by name")
    if isinstance(inputs, Inputs):
        args, kwargs = inputs
    elif isinstance(inputs, Mapping):
        args, kwargs = (), inputs
    elif isinstance(inputs, tuple | list):
        args, kwargs = inputs, {}
    else:
        args, kwargs = (inputs,), {}
    # One by one: a mapped dict would be in alphabetic order.
    return Inputs(tuple(_as_numpy(a) for a in args), {name: _as_numpy(a) for name, a in kwargs.items()})


def _as_numpy(value: Any) -> Any:
    return jax.tree.map(lambda a: to_numpy(a) if is_array(a) else a, value)


def jax_parameters(model: Any) -> dict[str, inspect.Parameter]:
    """Return the parameters of a JAX model that are inputs."""
    parts = list(model) if isinstance(model, tuple | list) else [model]
    apply = None if isinstance(model, linen.Module | nnx.Module) else getattr(model, "apply", None)
    if apply is not None:
        function, pair = apply, True  # an (init, apply) pair
    elif isinstance(parts[0], nnx.GraphDef):
        function, pair = nnx.merge(*parts), False
    else:
        first = next((p for p in parts if callable(getattr(p, "apply", p))), parts[0])
        owner = getattr(first, "__self__", first)
        bound = isinstance(owner, linen.Module) and getattr(first, "__name__", "apply") == "apply"
        module = isinstance(first, linen.Module | nnx.Module) or is_equinox(first)
        function = owner if bound else first if module else getattr(first, "apply", first)
        pair = len(parts) > 1 and not bound and not module
    found = parameters(function)
    if pair:
        chosen = leads(function, len(parts) > 2)[0]
        found = {n: p for n, p in found.items() if n not in chosen.consumed}
    hidden = {*MODE_WORDS, *key_words(found)}
    hidden |= {*STATE_WORDS} if len(parts) > 1 else {*TREE_WORDS} if hasattr(model, "params_shape_tree") else set()
    return {n: p for n, p in found.items() if n not in hidden}


def fitted(given: Inputs, names: Mapping[str, inspect.Parameter], side: str) -> tuple[Inputs, list[str]]:
    """Return inputs by the names that a side has for them, and what is said of it.

    A name that differs slightly is matched; then, in order, those that are left on both sides; the rest is left out.
    """
    kinds = {p.kind for p in names.values()}
    if not given.kwargs or not names:
        return given, []
    if inspect.Parameter.VAR_POSITIONAL in kinds and not _named(names):
        return Inputs((*given.args, *given.kwargs.values()), {}), []
    free = _named(names)[len(given.args) :]
    kwargs = {n: a for n, a in given.kwargs.items() if n in free}
    left = [n for n in given.kwargs if n not in kwargs]
    open_ = [n for n in free if n not in kwargs]
    notes = []
    for test in (_alike, lambda _name, other: names[other].default is inspect.Parameter.empty):
        for name in list(left):
            fits = [n for n in open_ if test(name, n)]
            if len(fits) == (1 if test is _alike else len(left)):
                kwargs[fits[0]] = given.kwargs[name]
                left.remove(name)
                open_.remove(fits[0])
                notes.append(f"{name} is {fits[0]} for {side}")
    if inspect.Parameter.VAR_KEYWORD in kinds and not _named(names):
        return Inputs(given.args, kwargs | {n: given.kwargs[n] for n in left}), notes
    if left:
        notes.append(f"{side} does not take {', '.join(left)}, which is left out")
    return Inputs(given.args, kwargs), notes


def _named(names: Mapping[str, inspect.Parameter]) -> list[str]:
    return [n for n, p in names.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]


def _alike(a: str, b: str) -> bool:
    plain = [n.lower().replace("_", "").rstrip("s") for n in (a, b)]
    short, long = sorted(plain, key=len)
    return (len(short) > 3 and short in long) or difflib.SequenceMatcher(None, short, long).ratio() > 0.85


def _laid_out(
    module: TorchModule, model: Any, given: Inputs, fit: Mapping[str, Mapping[str, Any]], layout: str | None
) -> tuple[JaxSide, Inputs, Inputs, list[str]]:
    """Return the JAX side and both inputs in the best layout that both take."""
    best: tuple[float, JaxSide, Inputs, Inputs, list[str]] | None = None
    errors: list[tuple[bool, bool, str]] = []  # of PyTorch's before JAX's, of a moved input before one as it is given
    seen: dict[Any, Any] = {}
    for chosen in itertools.islice(_choices(_arrays(given), module, layout), MOST):
        try:
            ours = fitted(_moved(given, chosen, (LAST, BOTH), _first), fit["PyTorch"], "PyTorch")[0]
            key = tuple(name for name, way in chosen.items() if way in (LAST, BOTH))
            if key not in seen:
                seen[key] = _tried(module, ours)
            if isinstance(seen[key], UserError):
                raise seen[key]
            theirs = _moved(_moved(given, chosen, (FIRST,), _last), chosen, (BOTH,), _first)
            theirs = fitted(theirs, fit["JAX"], "JAX")[0]
            side = jax_side(model, *theirs, bare=not module.trained)
        except UserError as error:
            errors.append(("JAX" in str(error)[:8], all(way == SAME for way in chosen.values()), str(error)))
            continue
        distance = _distance(module, side, seen[key])
        if best is None or distance < best[0]:
            best = distance, side, ours, theirs, _said(chosen)
        if distance < NEAR:
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


def _arrays(inputs: Inputs) -> dict[str, np.ndarray]:
    """Return the arrays of inputs by name, or by number."""
    both = {str(i): a for i, a in enumerate(inputs.args)} | inputs.kwargs
    return {n: a for n, a in both.items() if isinstance(a, np.ndarray)}


def _choices(shapes: Mapping[str, Any], module: TorchModule, layout: str | None) -> Iterator[dict[str, str]]:
    """Yield a layout for each input, the most usual first."""
    options = {name: _options(array, module, _forced(layout, name)) for name, array in shapes.items()}
    every = itertools.product(*(range(len(o)) for o in options.values()))
    for numbers in sorted(every, key=lambda n: (sum(n), n)):
        yield {name: o[i] for (name, o), i in zip(options.items(), numbers, strict=True)}


def _options(array: np.ndarray, module: TorchModule, forced: str | None) -> Sequence[str]:
    if array.ndim not in (3, 4, 5) or not is_float(array):
        return (SAME,)
    if forced:
        return (forced,)
    if array.ndim > 3 or _convolves_first(module):
        return LAST, SAME, FIRST, BOTH
    return SAME, LAST, FIRST, BOTH


def _forced(layout: str | None, name: str) -> str | None:
    if layout is None:
        return None
    parts = {part.rpartition("=")[0]: part.rpartition("=")[2] for part in layout.split(",")}
    wrong = [value for value in parts.values() if value not in LAYOUTS]
    if wrong:
        raise UserError(f"--layout {layout}: '{wrong[0]}' is none of {', '.join(LAYOUTS)}")
    return parts.get(name, parts.get(""))


def _convolves_first(module: TorchModule) -> bool:
    """Return whether the first layer with weights takes sequences with their channels first."""
    layers = (m for m in module.module.modules() if any(True for _ in m.parameters(recurse=False)))
    first = (torch.nn.Conv1d, torch.nn.ConvTranspose1d, torch.nn.BatchNorm1d, torch.nn.InstanceNorm1d)
    return isinstance(next(layers, None), first)


def _moved(inputs: Inputs, chosen: Mapping[str, str], when: Sequence[str], move: Any) -> Inputs:
    args = tuple(move(a) if chosen.get(str(i)) in when else a for i, a in enumerate(inputs.args))
    return Inputs(args, {n: move(a) if chosen.get(n) in when else a for n, a in inputs.kwargs.items()})


def _first(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(array, -1, 1))


def _last(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(np.moveaxis(array, 1, -1))


def _distance(module: TorchModule, side: JaxSide, output: Mapping[str, Any]) -> float:
    """Return how unlike the two sides are in their numbers of weights and in the sizes of their outputs; 0: alike."""
    sizes_of = {name: module.tensors[name].numel() for name in module.trained}
    ours = sum(sizes_of.values())
    second = sum(
        size for name, size in sizes_of.items() if "bias_hh" in name
    )  # recurrent layers of JAX's have one bias
    theirs = sum(side.leaves[name].size for name in side.trained)
    # Linen's layers take any number of channels, and make as many weights; others have theirs before.
    counts = (ours, ours - second, ours - 2 * second // 3)  # a GRU has a second one for one of its gates
    weights = min(abs(np.log((n + 1) / (theirs + 1))) for n in counts) if side.kind == "Linen" else 0.0
    sizes = [int(np.prod(leaf.shape)) for leaf in named_leaves(side.output).values()]
    missing = sum(int(np.prod(leaf.shape)) not in sizes for leaf in output.values())
    return float(weights + missing)


def _said(chosen: Mapping[str, str]) -> list[str]:
    moved = {name: WORDS[way] for name, way in chosen.items() if way != SAME}
    if len(chosen) == 1 or not moved:
        return [next(iter(moved.values()), "both sides take the inputs as they are given")]
    return [f"{f'input {name}' if name.isdecimal() else name}: {words}" for name, words in moved.items()]
