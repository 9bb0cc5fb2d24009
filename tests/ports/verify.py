"""Prove the pairs of this folder by their true conversions, in float64, without the checker: outputs and gradients.

`python -m tests.ports.verify [NAME ...]` prints the errors of the right pairs; with `--bugs` also what bugs change.
"""

import contextlib
import inspect
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from unittest import mock

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import torch
from flax import nnx
from flax.linen import recurrent

from tests.ports import FOLDER, NAMES, pair
from tests.ports.bugs import BUGS, Bug

Arrays = dict[str, np.ndarray]


class Values(NamedTuple):
    """What one side computes: outputs by name; gradients by name of PyTorch's parameter or input."""

    outputs: Arrays
    gradients: Arrays


class Errors(NamedTuple):
    """Relative errors, and where the gradient's is largest."""

    output: float
    gradient: float
    worst: str
    seconds: float


def compare(
    name: str,
    folder: Path = FOLDER,
    exact: bool = True,
    gradients: bool = True,
    conversion: Callable[[Arrays, Any], Arrays] | None = None,
) -> Errors:
    """Compare both sides of a pair with the true weights.

    `exact`: in float64 where the code says float32, too. `conversion(state, tree of leaves)`: instead of the file's.
    """
    begun = time.perf_counter()
    torch_file, jax_file = pair(name, folder)
    module = torch_file.make()
    with jax.enable_x64(True), default_float64(), _all_in_float64() if exact else contextlib.nullcontext():
        args, kwargs = named(wide(inputs_of_jax(torch_file, jax_file)))
        args, kwargs = tuple(map(jnp.asarray, args)), {name: jnp.asarray(a) for name, a in kwargs.items()}
        tree, call = functional(jax_file, args, kwargs)
        names = flat_names(lambda t: call(t, args, kwargs), tree)
        theirs, cotangents, state = torch_values(module, torch_file.inputs(), names)
        convert = jax_file.weights if conversion is None else lambda state: conversion(state, tree)
        side = JaxSide(tree, call, convert)
        ours = jax_values(side, args, kwargs, state, cotangents, ties(module), gradients)
    output = max(relative(array, ours.outputs[key]) for key, array in theirs.outputs.items())
    error, worst = worst_gradient(theirs.gradients, ours.gradients) if gradients else (0.0, "")
    return Errors(output, error, worst, time.perf_counter() - begun)


def worst_gradient(theirs: Arrays, ours: Arrays) -> tuple[float, str]:
    """The largest relative error; what is zero but for rounding is judged against the whole gradient."""
    found, worst = 0.0, ""
    every = np.sqrt(sum(float(np.vdot(g, g)) for n, g in theirs.items() if not n.startswith("<input")))
    for key, g in theirs.items():
        if key.startswith("<input"):
            error = relative(g, ours[key] if ours[key].shape == g.shape else np.moveaxis(ours[key], -1, 1))
        else:
            step = direction(key, g)
            size = max(float(np.linalg.norm(g)), 1e-6 * every) * float(np.linalg.norm(step))
            error = float(abs(np.vdot(g, step) - ours[key]) / size)
        if not error <= found:
            found, worst = error, key
    return found, worst


def relative(a: np.ndarray, b: np.ndarray) -> float:
    if a.shape != b.shape:
        return float(np.inf)
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    error = float(np.linalg.norm(a - b) / max(float(np.linalg.norm(a)), 1e-300))
    return float(np.inf) if np.isnan(error) else error


# Inputs and outputs


def named(values: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Inputs as positional and named arguments."""
    if isinstance(values, dict):
        return (), values
    return (values if isinstance(values, tuple) else (values,)), {}


def floating(array: Any) -> bool:
    return np.issubdtype(np.asarray(array).dtype, np.floating)


def wide(values: Any) -> Any:
    """Floats as float64; integers and booleans as they are. In the order in which they are given."""
    if isinstance(values, dict):
        return {name: wide(value) for name, value in values.items()}
    if isinstance(values, tuple):
        return tuple(wide(value) for value in values)
    return np.asarray(values, np.float64) if floating(values) else np.asarray(values)


def inputs_of_jax(torch_file: ModuleType, jax_file: ModuleType) -> Any:
    if hasattr(torch_file, "jax_inputs"):
        return torch_file.jax_inputs()
    given = torch_file.inputs()
    return jax.tree.map(channels_last, given) if is_channels_last(jax_file) else given


def is_channels_last(jax_file: ModuleType) -> bool:
    return getattr(jax_file, "LAYOUT", "") == "channels last"


def channels_last(array: np.ndarray) -> np.ndarray:
    return np.moveaxis(array, 1, -1) if array.ndim > 2 and floating(array) else array


def flat(tree: Any, path: str = "") -> dict[str, Any]:
    """Arrays of an output by name; what is no array is left out."""
    if hasattr(tree, "shape"):
        return {path: tree}
    if hasattr(tree, "keys"):
        parts = [(str(key), tree[key]) for key in list(tree.keys())]
    else:
        parts = [(str(i), part) for i, part in enumerate(tree)] if isinstance(tree, tuple | list) else []
    return {name: leaf for key, part in parts for name, leaf in flat(part, f"{path}/{key}").items()}


def flat_names(call: Callable[[Any], Any], tree: Any) -> frozenset[str]:
    """Names of what the JAX side gives out."""
    shapes = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape, jnp.float64 if jnp.issubdtype(a.dtype, jnp.floating) else a.dtype),
        tree,
    )
    return frozenset(jax.eval_shape(lambda t: flat(call(t)), shapes))


# PyTorch's side


def torch_values(module: torch.nn.Module, given: Any, names: Collection[str]) -> tuple[Values, Arrays, Arrays]:
    """Outputs (those that the JAX side has, too) and gradients in float64; the cotangents; the state_dict."""
    module = module.double().eval()
    args, kwargs = named(wide(given))
    args = tuple(torch.tensor(a, requires_grad=floating(a)) for a in args)
    kwargs = {name: torch.tensor(a, requires_grad=floating(a)) for name, a in kwargs.items()}
    outputs = flat(module(*args, **kwargs))
    if not outputs.keys() & names:  # a tuple against a dict
        outputs = dict(zip(sorted(names), outputs.values(), strict=False))
    outputs = {name: leaf for name, leaf in outputs.items() if name in names}
    rng = np.random.default_rng(0)
    cotangents = {n: rng.normal(size=tuple(o.shape)) for n, o in outputs.items()}
    loss = sum((o * torch.tensor(cotangents[n])).sum() for n, o in outputs.items() if o.requires_grad)
    assert isinstance(loss, torch.Tensor)
    loss.backward()
    gradients = {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in module.named_parameters()}
    for number, tensor in enumerate(t for t in [*args, *kwargs.values()] if t.requires_grad):
        gradients[f"<input {number}>"] = torch.zeros_like(tensor) if tensor.grad is None else tensor.grad
    state = {n: t.detach().numpy().copy() for n, t in module.state_dict().items()}
    found = {n: g.detach().numpy().copy() for n, g in gradients.items()}
    return Values({n: o.detach().numpy().copy() for n, o in outputs.items()}, found), cotangents, state


def ties(module: torch.nn.Module) -> dict[str, str]:
    """Names of tensors that are another one's: {second name: first name}."""
    first: dict[int, str] = {}
    found = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        if id(tensor) in first:
            found[name] = first[id(tensor)]
        first.setdefault(id(tensor), name)
    return found


# JAX's side


class JaxSide(NamedTuple):
    """A model as a function of its leaves, and the conversion of PyTorch's tensors to them."""

    tree: Any
    call: Callable[..., Any]
    weights: Callable[[Arrays], Arrays]


def functional(file: ModuleType, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Callable[..., Any]]:
    """The tree of leaves (values or shapes) and `call(tree, args, kwargs)` of what `make()` returns."""
    model = file.make()
    if isinstance(model, nn.Module):
        tree = jax.eval_shape(lambda: model.init(jax.random.key(0), *args, **kwargs))
        return tree, lambda t, a, k: model.apply(t, *a, **k)
    if isinstance(model, nnx.Module):
        for _, module in nnx.iter_modules(model):
            if getattr(module, "dtype", None) == np.float32:
                vars(module)["dtype"] = jnp.float64  # `nnx.Embed` keeps its parameter's dtype and casts to it
        graph, state = nnx.split(model)
        return nnx.to_pure_dict(state), lambda t, a, k: nnx.merge(graph, _restored(state, t))(*a, **k)
    if isinstance(model, eqx.Module):
        arrays, static = eqx.partition(model, eqx.is_array)
        return arrays, lambda t, a, k: _batched(file, eqx.combine(t, static))(*a, **k)
    function, tree = model
    parameters = [*inspect.signature(function).parameters]
    rng = (jax.random.key(0),) if parameters[1] == "rng" else ()
    return tree, lambda t, a, k: _batched(file, lambda *b, **c: function(t, *rng, *b, **c))(*a, **k)


def _batched(file: ModuleType, call: Callable[..., Any]) -> Callable[..., Any]:
    return jax.vmap(call) if getattr(file, "ONE_EXAMPLE", False) else call


def _restored(state: Any, tree: Any) -> Any:
    return nnx.from_flat_state(
        [(path, variable.replace(_at(tree, path))) for path, variable in nnx.to_flat_state(state)]
    )


def _at(tree: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        tree = tree[key]
    return tree


def by_path(tree: Any) -> dict[str, Any]:
    """Leaves of a tree by their path: names and numbers with "/" between."""
    keyed, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {"/".join(str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", k)))) for k in p): v for p, v in keyed}


def jax_values(
    side: JaxSide,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    state: Arrays,
    cotangents: Arrays,
    tied: Mapping[str, str],
    gradients: bool,
) -> Values:
    """Outputs in PyTorch's layout, and gradients as derivatives along random directions, one of each parameter."""
    leaves, structure = checked(side), jax.tree.structure(side.tree)
    arrays = leaves(state)
    trained = {p: jnp.asarray(a, jnp.float64) for p, a in arrays.items() if floating(a)}
    rest = {p: jnp.asarray(a) for p, a in arrays.items() if not floating(a)}

    def loss(trained: dict[str, Any], args: Any, kwargs: Any) -> Any:
        every = trained | rest
        out = flat(side.call(jax.tree.unflatten(structure, [every[p] for p in arrays]), args, kwargs))
        total = jnp.zeros((), jnp.float64)
        for name, cotangent in cotangents.items():
            if jnp.issubdtype(out[name].dtype, jnp.floating):
                same = out[name].shape == cotangent.shape
                total += (out[name] * (cotangent if same else channels_last(cotangent))).sum()
        return total, {name: out[name] for name in cotangents}

    if gradients:
        grad = jax.grad(loss, argnums=(0, 1, 2), has_aux=True, allow_int=True)
        (gradient, *given), outputs = jax.jit(grad)(trained, args, kwargs)
        given = [*given[0], *[given[1][name] for name in kwargs]]
    else:
        gradient, given, outputs = {}, [], jax.jit(loss)(trained, args, kwargs)[1]
    outputs = {n: np.asarray(o) for n, o in outputs.items()}
    outputs = {n: o if o.shape == cotangents[n].shape else np.moveaxis(o, -1, 1) for n, o in outputs.items()}
    floats = [np.asarray(g) for g in given if g.dtype != jax.dtypes.float0]
    found = {f"<input {i}>": g for i, g in enumerate(floats)}
    slopes = along_directions(leaves, state, tied, gradient) if gradients else {}
    return Values(outputs, found | slopes)


def checked(side: JaxSide) -> Callable[[Arrays], Arrays]:
    """The conversion, in the order of the tree's leaves, refused where a name or a shape is none of the tree's."""
    paths = by_path(side.tree)

    def leaves(state: Arrays) -> Arrays:
        found = side.weights(state)
        missing, extra = sorted(paths.keys() - found.keys()), sorted(found.keys() - paths.keys())
        assert not missing, f"no weights for {missing}"
        assert not extra, f"no leaf {extra}"
        for path, leaf in paths.items():
            assert leaf.shape == found[path].shape, (path, leaf.shape, found[path].shape)
        return {path: found[path] for path in paths}

    return leaves


def along_directions(
    leaves: Callable[[Arrays], Arrays], state: Arrays, tied: Mapping[str, str], gradient: Mapping[str, Any]
) -> Arrays:
    """The derivative along a random direction of each tensor: what the leaves' gradients are worth for it."""
    found, before = {}, leaves(state)
    for name, tensor in state.items():
        if not floating(tensor) or name in tied:
            continue
        step = direction(name, tensor)
        after = leaves({n: t + step if n == name or tied.get(n) == name else t for n, t in state.items()})
        found[name] = np.asarray(sum(float(np.vdot(gradient[p], after[p] - before[p])) for p in gradient))
    return found


def direction(name: str, tensor: np.ndarray) -> np.ndarray:
    return np.random.default_rng(len(name) + sum(map(ord, name))).normal(size=tensor.shape)


# Float64


@contextlib.contextmanager
def default_float64() -> Iterator[None]:
    """What a PyTorch module makes in its forward pass (masks, tables) is float64, too."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def _all_in_float64() -> Iterator[None]:
    """Compute in float64 even what is float32 by design: carries of recurrent cells, `.float()`, fused attention.

    The proof is of the mathematics; what float32 costs is the checker's to judge.
    """
    cell = recurrent.OptimizedLSTMCell
    start = cell.initialize_carry

    def carries(*args: Any, **kwargs: Any) -> Any:
        return jax.tree.map(lambda c: c.astype(jnp.float64), start(*args, **kwargs))

    with (
        mock.patch.object(cell, "initialize_carry", carries),
        mock.patch.object(jnp, "float32", jnp.float64),
        mock.patch.object(jax.nn, "dot_product_attention", _attention),
        mock.patch.object(torch.Tensor, "float", torch.Tensor.double),
    ):
        yield


def _attention(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
    scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) / np.sqrt(query.shape[-1])
    return jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), value)


def change(bug: Bug) -> Errors:
    """What a planted bug changes, with the true weights."""
    with tempfile.TemporaryDirectory() as folder:
        bug.write(Path(folder))
        return compare(bug.pair, Path(folder), gradients=bug.backward)


if __name__ == "__main__":
    wanted = [a for a in sys.argv[1:] if not a.startswith("--")] or NAMES
    for pair_name in wanted:
        print(pair_name, compare(pair_name), flush=True)
    for planted in [b for b in BUGS if b.pair in wanted] if "--bugs" in sys.argv else ():
        print(planted.name, change(planted), flush=True)
