"""Functions with a tree of parameters, and callables that hold their arrays, as pure functions of arrays by path."""

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from data import UserError
from parity.sides.arrays import flat_tree, is_array, is_float, wide
from parity.sides.conventions import KEY_WORDS, Convention, batch_size, called, convention_of, learned, parameters
from parity.sides.linen import made_cheaply
from parity.sides.opened import PARAMETERS, Bound, Opened
from parity.sides.trial import settle

TREE_WORDS = ("params", "variables", "weights", "parameters")
STATE_WORDS = ("state", "states", "model_state", "batch_stats")


class FunctionSide:
    """What has been opened, called by the first convention that works."""

    def __init__(
        self,
        found: Opened,
        function: Any,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        *,
        consumed: Sequence[str] = (),
        axis_name: str | None = None,
    ):
        self.kind, self.trained, self._opened = found.kind, found.trained, found
        self.notes: list[str] = []
        self.leaves = {name: wide(array) for name, array in found.leaves.items()}
        self.output: Any = None
        self.concrete = False
        base = Convention() if is_vmapped(function) else convention_of(function)
        self._how = base._replace(
            words=tuple(w for w in base.words if w not in consumed),
            keys=tuple(k for k in base.keys if k not in consumed),
            optional_keys=tuple(k for k in base.optional_keys if k not in consumed),
            axis_name=axis_name,
        )
        self._settle(args, kwargs)

    def call(
        self, leaves: Mapping[str, Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], *, train: bool
    ) -> tuple[Any, dict[str, Any]]:
        """Return the output tree, and the leaves that are not trained as they are afterwards."""
        bound = self._opened.bind({name: jnp.asarray(leaves[name]) for name in self.leaves}, train)
        output, after = called(bound, args, kwargs, self._how, train=train)
        return output, {name: leaf for name, leaf in after.items() if name in leaves and name not in self.trained}

    def native(self, leaves: Mapping[str, Any]) -> Any:
        """Return the model with other arrays, in its own dtypes."""
        own = {n: jnp.asarray(np.asarray(leaves[n]).astype(a.dtype)) for n, a in self._opened.leaves.items()}
        return self._opened.bind(own, False).call

    def _settle(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Find the convention: words that are missing are learned from the error; then an example at a time."""
        batches = [False, True] if batch_size(args, kwargs) else [False]
        errors: list[Exception] = []
        for batch in batches[::-1] if self.kind == "Equinox" else batches:
            how = self._how._replace(batch=batch)
            for _ in range(4):
                self._how = how
                try:
                    settle(self, args, kwargs)
                    if batch:
                        self.notes.append("the JAX module takes one example: jax.vmap calls it for each")
                    return
                except Exception as error:
                    errors.append(error)
                    if (more := learned(how, error)) is None:
                        break
                    how = more
        raise errors[0]


def is_vmapped(function: Any) -> bool:
    """Return whether `jax.vmap` has made a function: it would map keywords, too."""
    while function is not None:
        if getattr(getattr(function, "__code__", None), "co_name", "") == "vmap_f":
            return True
        function = getattr(function, "__wrapped__", None)
    return False


def pair(
    function: Callable[..., Any],
    trees: Sequence[Any],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    kind: str = "function",
) -> FunctionSide:
    """Return the side of `function(params, ...)`, `function(params, state, ...)`, with a key after them or not."""
    params, *state = trees
    if not state and isinstance(params, tuple) and len(params) == 2 and _second(function) in STATE_WORDS:
        params, *state = params
    errors = []
    for lead in _leads(function, bool(state)):
        found = _opened_pair(function, params, state, lead, kind)
        names = list(parameters(function))
        consumed = names[: len(lead)] if not lead[0].startswith("=") else [lead[0][1:]]
        try:
            return FunctionSide(found, function, args, kwargs, consumed=consumed)
        except Exception as error:
            errors.append(error)
    raise errors[0]


def _second(function: Any) -> str:
    return next(iter(list(parameters(function))[1:2]), "")


def _leads(function: Any, state: bool) -> list[tuple[str, ...]]:
    """Return what may stand before the inputs, what the signature says first."""
    names = list(parameters(function))
    late = [n for n in names[1:] if n in TREE_WORDS]
    if late and names[0] not in TREE_WORDS and not state:
        return [(f"={late[0]}",)]
    base = ("params", "state") if state else ("params",)
    after = names[len(base)] if len(names) > len(base) else ""
    both = [base, (*base, "key")]
    return both[::-1] if after in KEY_WORDS else both


def _opened_pair(function: Any, params: Any, state: Sequence[Any], lead: tuple[str, ...], kind: str) -> Opened:
    trees = {PARAMETERS: params} | ({"state": state[0]} if state else {})
    leaves, treedef = jax.tree.flatten(trees)
    paths = [_without_double(name) for name, leaf in flat_tree(trees) if leaf is not None]
    if not any(is_array(leaf) for leaf in leaves):
        raise UserError(f"the parameters of the JAX function hold no arrays: {type(params).__name__}")
    slots = {i: paths[i] for i, leaf in enumerate(leaves) if is_array(leaf)}

    def bind(arrays: Mapping[str, Any], _train: bool) -> Bound:
        new = jax.tree.unflatten(treedef, [arrays[slots[i]] if i in slots else leaf for i, leaf in enumerate(leaves)])
        after: dict[str, Any] = {}

        def call(*args: Any, **kwargs: Any) -> Any:
            if lead[0].startswith("="):
                return function(*args, **kwargs, **{lead[0][1:]: new[PARAMETERS]})
            first = [jax.random.PRNGKey(0) if word == "key" else new[word] for word in lead]
            found = function(*first, *args, **kwargs)
            if state:
                found, changed = found
                after.update((_without_double(n), leaf) for n, leaf in flat_tree({"state": changed}) if is_array(leaf))
            return found

        return Bound(call, lambda: after)

    own = {path: leaves[i] for i, path in slots.items()}
    trained = frozenset(n for n, a in own.items() if n.startswith(f"{PARAMETERS}/") and is_float(a))
    return Opened(kind, own, trained, bind)


def _without_double(path: str) -> str:
    """Return "batch_stats/mean" of "params/batch_stats/mean": a tree with Flax's collections keeps their names."""
    inner = path.removeprefix(f"{PARAMETERS}/")
    return inner if inner.partition("/")[0] in (PARAMETERS, "batch_stats") else path


def transformed(model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> FunctionSide:
    """Return the side of an (init, apply) pair of Haiku's, or like it, whose parameters are made here."""
    how = convention_of(model.init)
    for _ in range(3):
        try:
            words = how.keywords(False, kwargs)
            made = made_cheaply(lambda key, a, k: {"params": model.init(key, *a, **k, **words)}, args, kwargs)
            break
        except TypeError as error:
            if (more := learned(how, error)) is None:
                raise
            how = more
    else:
        raise UserError("the JAX side's init cannot be called")
    with_state = "State" in type(model).__name__
    return pair(model.apply, made["params"] if with_state else [made["params"]], args, kwargs)


def wrapper(model: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> FunctionSide:
    """Return the side of one of transformers' Flax models: its own `__call__`, with the defaults that it fills in."""
    try:
        params = model.params
    except ValueError:  # made with _do_init=False
        params = made_cheaply(lambda key, _a, _k: {"params": model.init_weights(key, model.input_shape)}, (), {})[
            "params"
        ]

    def function(params: Any, *args: Any, **kwargs: Any) -> Any:
        return model(*args, **kwargs, params=params)

    function.__signature__ = inspect.Signature(  # pyright: ignore[reportFunctionMemberAccess]
        [
            inspect.Parameter("params", inspect.Parameter.POSITIONAL_ONLY),
            *(p for name, p in parameters(model.__call__).items() if name != "params"),
        ]
    )
    return pair(function, [params], args, kwargs, kind="Linen")


def equinox_with_state(
    model: Any, found: Opened, args: tuple[Any, ...], kwargs: Mapping[str, Any], state: Any = None
) -> FunctionSide:
    """Return the side of an Equinox module, which may keep statistics in an `equinox.nn.State`."""
    equinox = sys.modules["equinox"]
    indices = [leaf for leaf in jax.tree.leaves(model, is_leaf=_is_index) if _is_index(leaf)]
    if state is None and not indices:
        return FunctionSide(found, model, args, kwargs)
    state = equinox.nn.State(model) if state is None else state
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
