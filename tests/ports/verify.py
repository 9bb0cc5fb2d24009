"""Prove the pairs of this folder by their true conversions, in float64, without the checker: outputs and gradients.

`python -m tests.ports.verify [NAME ...]` prints the errors of the right pairs; `--bugs` what each planted bug changes.
"""

import contextlib
import inspect
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
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
    """What both sides compute: outputs by number, gradients by name (of PyTorch's parameters and inputs)."""

    outputs: list[np.ndarray]
    gradients: Arrays


def named(values: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Inputs as positional and named arguments."""
    if isinstance(values, dict):
        return (), values
    return (values if isinstance(values, tuple) else (values,)), {}


def floating(array: Any) -> bool:
    return np.issubdtype(np.asarray(array).dtype, np.floating)


def wide(values: Any) -> Any:
    """Floats as float64; integers and booleans as they are."""
    return jax.tree.map(lambda a: np.asarray(a, np.float64) if floating(a) else np.asarray(a), values)


def channels_last(array: np.ndarray) -> np.ndarray:
    return np.moveaxis(array, 1, -1) if array.ndim > 2 and floating(array) else array


def inputs_of_jax(torch_file: ModuleType, jax_file: ModuleType) -> Any:
    """What the JAX side is given."""
    if hasattr(torch_file, "jax_inputs"):
        return torch_file.jax_inputs()
    given = torch_file.inputs()
    return jax.tree.map(channels_last, given) if is_channels_last(jax_file) else given


def is_channels_last(jax_file: ModuleType) -> bool:
    return getattr(jax_file, "LAYOUT", "") == "channels last"


def flat(tree: Any) -> list[Any]:
    """Leaves of an output: dicts by sorted names, as JAX orders them."""
    return [leaf for leaf in jax.tree.leaves(tree) if hasattr(leaf, "shape")]


def torch_values(module: torch.nn.Module, given: Any, seed: int = 0) -> tuple[Values, list[np.ndarray], Arrays]:
    """Outputs and gradients in float64; the cotangents; the state_dict."""
    module = module.double().eval()
    tensors = jax.tree.map(lambda a: torch.tensor(a, requires_grad=floating(a)), wide(given))
    args, kwargs = named(tensors)
    outputs = flat(module(*args, **kwargs))
    rng = np.random.default_rng(seed)
    cotangents = [rng.normal(size=tuple(o.shape)) for o in outputs]
    loss = sum((o * torch.tensor(c)).sum() for o, c in zip(outputs, cotangents, strict=True) if o.is_floating_point())
    assert isinstance(loss, torch.Tensor)
    loss.backward()
    gradients = {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in module.named_parameters()}
    gradients |= {
        f"<input {i}>": t.grad for i, t in enumerate(flat(tensors)) if t.requires_grad and t.grad is not None
    }
    state = {n: t.detach().numpy().copy() for n, t in module.state_dict().items()}
    found = {n: g.detach().numpy().copy() for n, g in gradients.items()}
    return Values([o.detach().numpy().copy() for o in outputs], found), cotangents, state


def by_path(tree: Any) -> Arrays:
    """Leaves of a tree by their path: names and numbers with "/" between."""
    keyed, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {"/".join(str(getattr(k, "key", getattr(k, "name", getattr(k, "idx", k)))) for k in p): v for p, v in keyed}


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
    keyed = len(inspect.signature(function).parameters) > 1 and [*inspect.signature(function).parameters][1] == "rng"
    rng = (jax.random.key(0),) if keyed else ()
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


def jax_values(
    file: ModuleType,
    given: Any,
    state: Arrays,
    cotangents: list[np.ndarray],
    tied: Mapping[str, str],
    gradients: bool = True,
) -> Values:
    """Outputs in PyTorch's layout, and gradients as derivatives along random directions, one of each parameter."""
    with jax.enable_x64(True):
        args, kwargs = named(wide(given))
        tree, call = functional(file, args, kwargs)
        leaves = file.weights(state)
        paths = by_path(tree)
        missing, extra = sorted(paths.keys() - leaves.keys()), sorted(leaves.keys() - paths.keys())
        assert not missing, f"no weights for {missing}"
        assert not extra, f"no leaf {extra}"
        for path, leaf in paths.items():
            assert leaf.shape == leaves[path].shape, (path, leaf.shape, leaves[path].shape)
        structure = jax.tree.structure(tree)
        trained = {p: jnp.asarray(leaves[p], jnp.float64) for p in paths if floating(leaves[p])}
        rest = {p: jnp.asarray(leaves[p]) for p in paths if not floating(leaves[p])}

        def loss(trained: dict[str, Any], args: Any, kwargs: Any) -> Any:
            every = trained | rest
            out = flat(call(jax.tree.unflatten(structure, [every[p] for p in paths]), args, kwargs))
            shaped = [c if o.shape == c.shape else channels_last(c) for o, c in zip(out, cotangents, strict=True)]
            total = sum(
                (o * c).sum() for o, c in zip(out, shaped, strict=True) if jnp.issubdtype(o.dtype, jnp.floating)
            )
            return jnp.asarray(total, jnp.float64), out

        grad = jax.grad(loss, argnums=(0, 1, 2), has_aux=True, allow_int=True)
        if gradients:
            (gradient, *inputs), outputs = jax.jit(grad)(trained, args, kwargs)
        else:
            gradient, inputs, outputs = {}, [], jax.jit(loss)(trained, args, kwargs)[1]
    outputs = [np.asarray(o) for o in outputs]
    outputs = [o if o.shape == c.shape else np.moveaxis(o, -1, 1) for o, c in zip(outputs, cotangents, strict=True)]
    found = {f"<input {i}>": np.asarray(g) for i, g in enumerate(flat(tuple(inputs))) if g.dtype != jax.dtypes.float0}
    found = {n: np.moveaxis(g, -1, 1) if is_channels_last(file) and g.ndim > 2 else g for n, g in found.items()}
    slopes = along_directions(file, state, tied, leaves, gradient) if gradients else {}
    return Values(outputs, found | slopes)


def along_directions(
    file: ModuleType, state: Arrays, tied: Mapping[str, str], leaves: Arrays, gradient: Any
) -> Arrays:
    """The derivative along a random direction of each tensor: what the leaves' gradients are worth for it."""
    found = {}
    for name, tensor in state.items():
        if not floating(tensor) or name in tied:
            continue
        step = direction(name, tensor)
        moved = {n: t + step if n == name or tied.get(n) == name else t for n, t in state.items()}
        changed = file.weights(moved)
        found[name] = np.asarray(sum(float(np.vdot(gradient[p], changed[p] - leaves[p])) for p in gradient))
    return found


def direction(name: str, tensor: np.ndarray) -> np.ndarray:
    return np.random.default_rng(len(name) + sum(map(ord, name))).normal(size=tensor.shape)


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
        jax.enable_x64(True),
    ):
        yield


def _attention(query: jax.Array, key: jax.Array, value: jax.Array) -> jax.Array:
    scores = jnp.einsum("bqhd,bkhd->bhqk", query, key) / np.sqrt(query.shape[-1])
    return jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores), value)


class Errors(NamedTuple):
    """Relative errors, and the names of what is worst."""

    output: float
    gradient: float
    worst: str
    seconds: float


def compare(name: str, folder: Path = FOLDER, exact: bool = True, gradients: bool = True) -> Errors:
    """Compare both sides of a pair with the true weights; `exact`: in float64 where the code says float32, too."""
    begun = time.perf_counter()
    torch_file, jax_file = pair(name, folder)
    module = torch_file.make()
    given = torch_file.inputs()
    tied = ties(module)
    with _all_in_float64() if exact else contextlib.nullcontext():
        theirs, cotangents, state = torch_values(module, given)
        ours = jax_values(jax_file, inputs_of_jax(torch_file, jax_file), state, cotangents, tied, gradients)
    output = max(relative(a, b) for a, b in zip(theirs.outputs, ours.outputs, strict=True))
    gradient, worst = 0.0, ""
    every = np.sqrt(sum(float(np.vdot(g, g)) for n, g in theirs.gradients.items() if not n.startswith("<input")))
    for key, g in theirs.gradients.items() if gradients else ():
        if key.startswith("<input"):
            error = relative(g, ours.gradients[key])
        else:
            step = direction(key, g)
            size = max(float(np.linalg.norm(g)), 1e-6 * every) * float(np.linalg.norm(step))
            error = float(abs(np.vdot(g, step) - ours.gradients[key]) / size)
        if not error <= gradient:
            gradient, worst = error, key
    return Errors(output, gradient, worst, time.perf_counter() - begun)


def ties(module: torch.nn.Module) -> dict[str, str]:
    """Names of tensors that are another one's: {second name: first name}."""
    first: dict[int, str] = {}
    found = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        if id(tensor) in first:
            found[name] = first[id(tensor)]
        first.setdefault(id(tensor), name)
    return found


def relative(a: np.ndarray, b: np.ndarray) -> float:
    if a.shape != b.shape:
        return np.inf
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    error = float(np.linalg.norm(a - b) / max(float(np.linalg.norm(a)), 1e-300))
    return float(np.inf) if np.isnan(error) else error


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
