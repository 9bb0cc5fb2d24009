"""Callables taken apart into their arrays and what is left, and put together again with other arrays.

NNX modules, Equinox modules, partials, methods, jitted and vmapped functions, and functions that close over these.
"""

import functools
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import nnx

from experiment.weights.layout import layer_path
from parity.sides.arrays import flat_tree, is_array, is_float, joined
from parity.sides.conventions import parameters
from parity.sides.nnx_module import COLLECTIONS

PARAMETERS = "params"
FUNCTION = types.FunctionType
NARROW = (jnp.float32, jnp.bfloat16, jnp.float16)
MODES = {"training": True, "is_training": True, "inference": False}  # attributes of NNX modules, beside NNX's own


class Bound(NamedTuple):
    """A callable with its arrays, and what they are after a call."""

    call: Callable[..., Any]
    after: Callable[[], dict[str, Any]] = dict
    native: Any = None  # what the user would call it: a tree of parameters; None: the callable itself


class Opened(NamedTuple):
    """The arrays of a callable by path, which of them are trained, and how it is put together."""

    kind: str
    leaves: dict[str, Any]
    trained: frozenset[str]
    bind: Callable[[Mapping[str, Any], bool], Bound]  # from the leaves and whether it is trained
    notes: tuple[str, ...] = ()


def opened(value: Any) -> Opened | None:
    """Take a callable, or what it holds, apart; None if there is no array in it."""
    if isinstance(value, nnx.Module):
        return of_nnx(value)
    if isinstance(value, nn.Module):
        return _linen(value)
    if is_equinox(value):
        jitted = "JitWrapper" in type(value).__name__  # of equinox.filter_jit: its modes cannot be set from outside
        return opened(value.__wrapped__) if jitted else _tree("Equinox", value)
    if isinstance(value, functools.partial):
        return _partial(value)
    if isinstance(value, types.MethodType):
        return _parts([("", value.__self__)], lambda p: getattr(p[0], value.__name__))
    if isinstance(value, types.FunctionType) and getattr(value, "__wrapped__", None) is None:
        return _function(value)
    if isinstance(value, types.FunctionType) and value.__closure__ and (found := _function(value)) is not None:
        return found
    if callable(value) and not isinstance(value, type) and (inner := getattr(value, "__wrapped__", None)) is not None:
        return opened(inner)  # of jax.jit
    if type(value).__module__.startswith("flax.nnx") and isinstance(inner := getattr(value, "fun", None), FUNCTION):
        return opened(inner)  # of nnx.jit
    return None if isinstance(value, FUNCTION | type | types.ModuleType) else _tree("function", value)


def is_equinox(value: Any) -> bool:
    """Return whether a value is an Equinox module; Equinox is not imported for it."""
    equinox = sys.modules.get("equinox")
    return equinox is not None and isinstance(value, equinox.Module)


def _tree(kind: str, value: Any) -> Opened | None:
    """Take a pytree apart. Numpy's arrays in an Equinox module are constants, as for `equinox.is_array`."""
    leaves, treedef = jax.tree.flatten(value)
    # flatten_with_path sees None only if it is told to, so that both lists are of the same leaves.
    names = [name for name, leaf in flat_tree(value) if leaf is not None]
    kept = [is_array(leaf) and (kind != "Equinox" or isinstance(leaf, jax.Array)) for leaf in leaves]
    if not any(kept) or len(names) != len(leaves):
        return None
    paths = {i: f"{PARAMETERS}/{names[i]}".rstrip("/") for i, keep in enumerate(kept) if keep}
    trained = frozenset(path for i, path in paths.items() if is_float(leaves[i]))

    def bind(arrays: Mapping[str, Any], train: bool) -> Bound:
        new = jax.tree.unflatten(treedef, [arrays[paths[i]] if i in paths else leaf for i, leaf in enumerate(leaves)])
        if kind == "Equinox":
            new = sys.modules["equinox"].nn.inference_mode(new, not train)
        return Bound(new)

    return Opened(kind, {path: leaves[i] for i, path in paths.items()}, trained, bind)


def of_nnx(module: nnx.Module, *, widen: bool = False) -> Opened:
    """Take an NNX module apart; its generators of random numbers and arrays of numpy stay inside.

    Args:
        module: the module.
        widen: whether its layers compute in float64 where a narrower dtype is an attribute of theirs.
    """
    layers = [layer for _, layer in nnx.iter_modules(module)] if widen else []
    narrow = sorted({jnp.dtype(d).name for m in layers if (d := vars(m).get("dtype")) in NARROW and d is not None})
    graph, state, rest = nnx.split(module, _is_tensor, ...)
    variables = dict(nnx.to_flat_state(state))
    names = {path: _nnx_name(path, variable) for path, variable in variables.items()}

    def bind(arrays: Mapping[str, Any], train: bool) -> Bound:
        new = {
            path: v.replace(arrays[names[path]]) if isinstance(v, nnx.Variable) else arrays[names[path]]
            for path, v in variables.items()
        }
        copy = nnx.merge(graph, nnx.from_flat_state(new), nnx.from_flat_state(_fresh(rest)))
        copy.train() if train else copy.eval()
        for _, layer in nnx.iter_modules(copy):
            if narrow and vars(layer).get("dtype") in NARROW:
                vars(layer)["dtype"] = jnp.float64
            for word in MODES.keys() & vars(layer).keys():
                if isinstance(getattr(layer, word), bool):
                    setattr(layer, word, train is MODES[word])

        def after() -> dict[str, Any]:
            now = dict(nnx.to_flat_state(nnx.state(copy, _is_tensor)))
            return {name: _raw(now[path]) for path, name in names.items() if path in now}

        return Bound(copy, after)

    leaves = {name: _raw(variables[path]) for path, name in names.items()}
    trained = frozenset(n for p, n in names.items() if isinstance(variables[p], nnx.Param) and is_float(leaves[n]))
    notes = tuple(f"dtype is float64 here instead of {name}" for name in narrow)
    return Opened("NNX", leaves, trained, bind, notes)


def _fresh(state: Any) -> dict[Any, Any]:
    """Return copies of variables: a counter that is moved within a trace must not be the user's."""
    flat = dict(nnx.to_flat_state(state))
    return {path: v.replace(_raw(v)) if isinstance(v, nnx.Variable) else v for path, v in flat.items()}


def _is_tensor(_path: Any, value: Any) -> bool:
    if isinstance(value, nnx.Variable):
        return not isinstance(value, nnx.RngState) and is_array(_raw(value))
    return isinstance(value, jax.Array) and is_array(value)


def _raw(variable: Any) -> Any:
    return variable.get_value() if isinstance(variable, nnx.Variable) else variable


def _nnx_name(path: tuple[Any, ...], variable: Any) -> str:
    known = (name for cls, name in COLLECTIONS.items() if isinstance(variable, cls))
    other = type(variable).__name__ if isinstance(variable, nnx.Variable) else "constants"
    return f"{next(known, other)}/{layer_path('.'.join(map(str, path)))}"


def _linen(module: nn.Module) -> Opened | None:
    """Take a Linen module that is bound to its variables apart."""
    if module.scope is None:
        return None
    free, variables = module.unbind()
    names = {joined(path): leaf for path, leaf in jax.tree_util.tree_flatten_with_path(variables)[0]}
    treedef = jax.tree.structure(variables)

    def bind(arrays: Mapping[str, Any], _train: bool) -> Bound:
        return Bound(free.bind(jax.tree.unflatten(treedef, [arrays[name] for name in names])))

    trained = frozenset(name for name, leaf in names.items() if name.startswith("params/") and is_float(leaf))
    return Opened("Linen", names, trained, bind)


def _partial(value: functools.partial[Any]) -> Opened | None:
    names = [*parameters(value.func), *(str(i) for i in range(len(value.args)))]
    parts = [("", value.func), *zip(names, value.args, strict=False), *value.keywords.items()]

    def joined_again(new: list[Any]) -> Any:
        end = 1 + len(value.args)
        return functools.partial(new[0], *new[1:end], **dict(zip(value.keywords, new[end:], strict=True)))

    return _parts(parts, joined_again)


def _function(function: types.FunctionType) -> Opened | None:
    """Take a function apart that closes over arrays or over callables that hold some; if none does, by its globals."""
    if id(function) in _within:  # it calls itself
        return None
    _within.append(id(function))
    try:
        cells = dict(zip(function.__code__.co_freevars, function.__closure__ or (), strict=True))
        inside = {name: cell.cell_contents for name, cell in cells.items() if _filled(cell)}
        found = _parts(list(inside.items()), lambda new: _with(function, dict(zip(inside, new, strict=True)), {}))
        if found is not None:
            return found
        known = function.__globals__
        used = {name: known[name] for name in _names(function.__code__) if name in known and _holds(known[name])}
        return _parts(list(used.items()), lambda new: _with(function, {}, dict(zip(used, new, strict=True))))
    finally:
        _within.pop()


_within: list[int] = []  # the functions that are being taken apart


def _with(function: types.FunctionType, inside: Mapping[str, Any], known: Mapping[str, Any]) -> types.FunctionType:
    """Return a copy of a function with other values in its closure and its globals."""
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    closure = tuple(types.CellType(inside[name]) if name in inside else cell for name, cell in cells)
    names = {**function.__globals__, **known} if known else function.__globals__
    new = types.FunctionType(function.__code__, names, function.__name__, function.__defaults__, closure)
    new.__kwdefaults__ = function.__kwdefaults__
    new.__dict__.update({k: v for k, v in function.__dict__.items() if k != "__wrapped__"})
    return new


def _filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:  # it has no value yet
        return False


def _names(code: types.CodeType) -> list[str]:
    inner = (name for constant in code.co_consts if isinstance(constant, types.CodeType) for name in _names(constant))
    return [*dict.fromkeys([*code.co_names, *inner])]


def _holds(value: Any) -> bool:
    """Return whether a global value is a model or a tree of parameters, not a function or a library."""
    return isinstance(value, nnx.Module | dict | list | tuple | functools.partial) or is_equinox(value)


def _parts(parts: list[tuple[str, Any]], joined_again: Callable[[list[Any]], Any]) -> Opened | None:
    """Take several values apart at once; the names of a part stay as they are where it is the only one with arrays."""
    found = [opened(value) for _, value in parts]
    holding = [i for i, part in enumerate(found) if part]
    if not holding:
        return None
    names = [_renamed(part, parts[i][0] or str(i), len(holding) > 1) if part else {} for i, part in enumerate(found)]

    def bind(arrays: Mapping[str, Any], train: bool) -> Bound:
        bounds: list[Bound | None] = [
            part.bind({own: arrays[name] for own, name in names[i].items()}, train) if part else None
            for i, part in enumerate(found)
        ]

        def after() -> dict[str, Any]:
            return {names[i][own]: a for i, b in enumerate(bounds) if b for own, a in b.after().items()}

        values = [b.call if b else value for b, (_, value) in zip(bounds, parts, strict=True)]
        return Bound(joined_again(values), after)

    leaves = {names[i][own]: a for i in holding for own, a in _of(found[i]).leaves.items()}
    trained = frozenset(names[i][own] for i in holding for own in _of(found[i]).trained)
    return Opened(_of(found[holding[0]]).kind, leaves, trained, bind)


def _of(part: Opened | None) -> Opened:
    assert part is not None
    return part


def _renamed(part: Opened, name: str, several: bool) -> dict[str, str]:
    """Return a part's names, each with the part's own after the collection if there are several parts."""
    if not several:
        return {own: own for own in part.leaves}
    return {own: "/".join((own.partition("/")[0], name, own.partition("/")[2])).rstrip("/") for own in part.leaves}
