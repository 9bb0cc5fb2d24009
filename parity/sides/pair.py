"""Functions with trees of parameters: (apply, params), Haiku's transformed functions, transformers' wrappers."""

import copy
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from data import UserError
from parity.sides.arrays import flat_tree, is_array, is_float
from parity.sides.conventions import convention_of, is_key_word, learned, parameters
from parity.sides.function import FunctionSide
from parity.sides.linen import made_cheaply, narrow_dtype
from parity.sides.opened import PARAMETERS, Bound, Opened

STATE, KEY = "state", "key"
TREE_WORDS = ("params", "variables", "weights", "parameters")
STATE_WORDS = ("state", "states", "model_state", "batch_stats")


class Lead(NamedTuple):
    """What a function is given beside its inputs: "params", "state", "key"."""

    first: tuple[str, ...]  # before the inputs
    named: Mapping[str, str]  # by the function's word for it
    consumed: frozenset[str]  # the words that are taken so


def pair(
    function: Callable[..., Any],
    trees: Sequence[Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    kind: str = "function",
    *,
    bare: bool = False,
) -> FunctionSide:
    """Return the side of `function(params, ...)`, `function(params, state, ...)`, with a key after them or not."""
    params, *state = trees
    names = list(parameters(function))
    if not state and isinstance(params, tuple) and len(params) == 2 and names[1:2] and names[1] in STATE_WORDS:
        params, *state = params
    errors = []
    for lead in leads(function, bool(state)):
        try:
            found = _opened(
                function, {PARAMETERS: params} | dict(zip((STATE,), state, strict=False)), lead, kind, bare
            )
            return FunctionSide(found, function, args, kwargs, consumed=lead.consumed)
        except Exception as error:
            errors.append(error)
    raise errors[0]


def leads(function: Any, state: bool) -> list[Lead]:
    """Return what may stand before the inputs. Where the signature does not tell, a key is tried last."""
    found = parameters(function)
    names = [n for n, p in found.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    first, named = [], {}
    for what, words in ((PARAMETERS, TREE_WORDS), *(((STATE, STATE_WORDS),) if state else ())):
        late = next((n for n in names[len(first) :] if n in words), None)
        if late is None or late == names[len(first)]:
            first.append(what)
        else:
            named[late] = what
    after = names[len(first) : len(first) + 1]
    taken = frozenset([*names[: len(first)], *named])
    plain, keyed = Lead(tuple(first), named, taken), Lead((*first, KEY), named, taken | {*after})
    if after and is_key_word(after[0]):
        return [keyed]
    return [plain] if after or not first else [plain, keyed]


def _opened(function: Any, trees: Mapping[str, Any], lead: Lead, kind: str, bare: bool) -> Opened:
    leaves, treedef = jax.tree.flatten(dict(trees))
    paths = [_without_double(name) for name, leaf in flat_tree(dict(trees)) if leaf is not None]
    slots = {i: path for i, path in enumerate(paths) if is_array(leaves[i])}
    if not slots and not bare:
        raise UserError(f"the parameters of the JAX function hold no arrays: {type(trees[PARAMETERS]).__name__}")

    def bind(arrays: Mapping[str, Any], _train: bool) -> Bound:
        new = jax.tree.unflatten(treedef, [arrays[slots[i]] if i in slots else leaf for i, leaf in enumerate(leaves)])
        after: dict[str, Any] = {}

        def call(*args: Any, **kwargs: Any) -> Any:
            given = {**new, KEY: jax.random.PRNGKey(0)}
            words = {word: given[what] for word, what in lead.named.items()}
            found = function(*(given[what] for what in lead.first), *args, **kwargs, **words)
            if STATE in trees:
                found, changed = found
                after.update((_without_double(n), leaf) for n, leaf in flat_tree({STATE: changed}) if is_array(leaf))
            return found

        native = (new[PARAMETERS], new[STATE]) if STATE in trees else new[PARAMETERS]
        return Bound(call, lambda: after, native)

    own = {path: leaves[i] for i, path in slots.items()}
    trained = frozenset(n for n, a in own.items() if n.partition("/")[0] == PARAMETERS and is_float(a))
    return Opened(kind, own, trained, bind)


def _without_double(path: str) -> str:
    """Return "batch_stats/mean" of "params/batch_stats/mean": a tree with Flax's collections keeps their names."""
    inner = path.partition("/")[2]
    return inner if inner.partition("/")[0] in (PARAMETERS, "batch_stats") else path


def transformed(model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> FunctionSide:
    """Return the side of an (init, apply) pair of Haiku's, or like it, whose parameters are made here."""
    how = convention_of(model.init, len(args) + 1)

    def init(key: Any, args: Any, kwargs: Any) -> Any:  # in training mode: Haiku's BatchNorm has no statistics before
        return {PARAMETERS: model.init(key, *args, **kwargs, **how.keywords(True, kwargs))}

    for _ in range(3):
        try:
            made = made_cheaply(init, args, kwargs)[PARAMETERS]
            break
        except TypeError as error:
            if (more := learned(how, error)) is None:
                raise
            how = more
    else:
        raise UserError("the init of the JAX side cannot be called")
    return pair(model.apply, made if "State" in type(model).__name__ else [made], args, kwargs)


def wrapper(model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> FunctionSide:
    """Return the side of one of transformers' Flax models: its own `__call__`, with the defaults that it fills in."""
    try:
        params = model.params
    except ValueError:  # made with _do_init=False
        init = lambda key, *_: {PARAMETERS: model.init_weights(key, model.input_shape)}  # noqa: E731
        params = made_cheaply(init, (), {})[PARAMETERS]
    if dtype := narrow_dtype(model.module):
        model = copy.copy(model)
        model._module = model.module.clone(dtype=jnp.float64)
    state = {name: tree for name, tree in params.items() if name == "batch_stats"}

    def function(params: Any, *args: Any, **kwargs: Any) -> Any:
        own, state, args = (params, args[0], args[1:]) if with_state else (params, {}, args)
        found = model(*args, **kwargs, params={**own, **state})
        if not with_state:
            return found
        updated = isinstance(found, tuple) and len(found) == 2 and "batch_stats" in found[1]
        return found if updated else (found, state)

    with_state = bool(state)
    words = ["params", *(["state"] if with_state else [])]
    function.__signature__ = inspect.Signature(  # pyright: ignore[reportFunctionMemberAccess]
        [
            *(inspect.Parameter(word, inspect.Parameter.POSITIONAL_ONLY) for word in words),
            *(p for name, p in parameters(model.__call__).items() if name != "params"),
        ]
    )
    own = {name: tree for name, tree in params.items() if name not in state}
    side = pair(function, [own, state] if with_state else [own], args, kwargs, kind="Linen")
    side.notes += [f"the Flax module's dtype is float64 here instead of {dtype}"] if dtype else []
    return side
